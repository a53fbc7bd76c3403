//! The dispatcher from outside, over a log in memory that can be made to fail.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first thing that goes wrong"
)]

mod archiving;
mod bulk;
mod engine;
mod faults;
mod joined;
mod keys;
mod masters;
mod matrix;
mod model;
mod nodes;
mod orders;
mod races;
mod reasons;
mod sequential;
mod spread;
mod support;
mod taking_back;
mod timers;
mod variants;
