//! The PostgreSQL log against a real server.
//!
//! `DAYBOOK_TEST_POSTGRES_URL` names it (`tests/servers.sh` starts one). Without it every test here says that it is skipped;
//! with `DAYBOOK_TEST_REQUIRE_SERVERS=1` it fails instead. Each test has a schema of its own; those that kill or freeze the
//! server start their own.

#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod faults;
mod interop;
mod leases;
mod opening;
mod order;
mod proxy;
mod stock;
mod support;
mod values;
