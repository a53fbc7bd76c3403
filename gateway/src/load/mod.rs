//! Drives a running server over real connections: the client, latency records, and what is built on them.
//!
//! - [`client`]: bare HTTP/1.1
//! - [`commits`]: what the server's log took meanwhile
//! - [`latency`]: percentiles and a text histogram
//! - `download`: answers too long to be held
//! - [`generate`]: the load generator, closed and open loop
//! - [`child`]: a server of one's own in a process of its own
//! - [`simulate`]: failure scenarios that check their invariants against the log
//!
//! The client is deliberately bare (one request at a time on a keep-alive connection, no pooling, no redirects), because
//! generator and server share the machine's cores in every measurement.

pub mod child;
pub mod client;
pub mod commits;
mod download;
pub mod generate;
pub mod latency;
pub mod simulate;
