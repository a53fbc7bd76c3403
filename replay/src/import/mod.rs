//! Imports of foreign histories: every row becomes commands, every event goes through a decision and the durable log.

pub mod online_retail;
pub mod variants;
