//! The promises of the event log, kept by the backend on KurrentDB: over this repository's server of the protocol, or
//! over the server that `DAYBOOK_TEST_KURRENT_URL` names.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use daybook_eventlog::conformance::Backend;
use daybook_eventlog::kurrent::{KurrentLog, KurrentOptions};
use daybook_eventlog::{EventLog, MemoryLog};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::common::Server;

struct Kurrent {
    url: String,
    _server: Option<Server>,
}

impl Kurrent {
    fn new() -> Self {
        if let Ok(url) = std::env::var("DAYBOOK_TEST_KURRENT_URL") {
            return Self { url, _server: None };
        }
        let server = Server::start(Arc::new(MemoryLog::new()));
        Self { url: server.url(), _server: Some(server) }
    }
}

impl Backend for Kurrent {
    fn open(&self) -> BoxFuture<'_, Arc<dyn EventLog>> {
        async {
            let log = KurrentLog::connect(KurrentOptions::new(&self.url)).await.unwrap();
            Arc::new(log) as Arc<dyn EventLog>
        }
        .boxed()
    }

    fn can_reopen(&self) -> bool {
        true
    }
}

daybook_eventlog::conformance_suite!(kurrent, Kurrent::new());
