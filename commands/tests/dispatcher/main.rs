//! The dispatcher from outside, over a log in memory that can be made to fail.

mod engine;
mod faults;
mod keys;
mod model;
mod orders;
mod support;
mod timers;
mod variants;
