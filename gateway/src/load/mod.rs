//! Drives a running server over real connections: the client, latency records, and the simulations built on them.
//!
//! The client is deliberately bare (one request at a time on a keep-alive connection, no pooling, no redirects), because
//! generator and server share the machine's cores in every measurement.

pub mod client;
pub mod latency;
pub mod simulate;
