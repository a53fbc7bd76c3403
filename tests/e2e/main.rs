//! End to end: the real binary on a temporary folder, driven over HTTP and the command line.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod admission;
mod backend;
mod bad_input;
mod bulk;
mod cli;
mod commerce;
mod contract;
mod copies;
mod deploy;
mod flash_sale;
mod harness;
mod import;
mod kill;
mod masters;
mod own_server;
mod pausing;
mod prices;
mod proxy;
mod races;
mod read_models;
mod read_models_shared;
mod reconcile;
mod relay;
mod renewal;
mod search_faults;
mod server_faults;
mod snapshots;
mod stopping;
mod takeover;
mod two_gateways;
mod web;
mod workload;
