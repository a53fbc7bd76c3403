//! End to end: the real binary on a temporary folder, driven over HTTP and the command line.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod admission;
mod bad_input;
mod bulk;
mod cli;
mod commerce;
mod flash_sale;
mod harness;
mod import;
mod kill;
mod masters;
mod races;
mod reconcile;
mod snapshots;
mod web;
