//! Tests on a real server: `DAYBOOK_TEST_ELASTICSEARCH_URL` names one (`start_elasticsearch` in `tests/servers.sh`). Without
//! it they are skipped, and say so; with `DAYBOOK_TEST_REQUIRE_SERVERS=1` they fail instead. Each test has indices of its own;
//! those that kill or freeze the server start one of their own.

mod commits;
mod differential;
mod faults;
mod letters;
mod proxy;
mod shared;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::tests::{Log, project_into};
use super::control;
use super::server::{Method, Request, Server};
use super::{ElasticModel, ElasticOptions};
use crate::model::{ReadModel, RowAccess};

/// The server's address, if there is one to test with.
fn url() -> Option<String> {
    let url = std::env::var("DAYBOOK_TEST_ELASTICSEARCH_URL").ok();
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but DAYBOOK_TEST_ELASTICSEARCH_URL is not set");
        eprintln!("skipped: DAYBOOK_TEST_ELASTICSEARCH_URL is not set");
    }
    url
}

/// Indices of one test, removed at its end.
struct Place {
    options: ElasticOptions,
    server: Server,
}

impl Place {
    fn new(url: String) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}-{number}", std::process::id());
        let timeout = Duration::from_secs(20);
        let options = ElasticOptions { url, prefix, timeout, ..ElasticOptions::default() };
        let place = Self { server: Server::new(&options).unwrap(), options };
        // What a killed run with the same process number has left.
        place.clear();
        place
    }

    fn clear(&self) {
        let data = (1..4).map(|generation| format!("{}-data", self.options.alias_of(generation)));
        for index in data.chain([self.options.ledger()]) {
            let _ = self.server.call(Request::new(Method::Delete, index));
        }
    }

    fn open(&self) -> ElasticModel {
        self.open_through(&self.options.url)
    }

    /// Opens the model so that it reaches the server at another address.
    fn open_through(&self, url: &str) -> ElasticModel {
        let options = ElasticOptions { url: url.to_owned(), ..self.options.clone() };
        ElasticModel::open(Server::new(&options).unwrap(), options, 1).unwrap()
    }

    fn alias(&self) -> String {
        self.options.alias_of(1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// All rows of all tables, in order.
fn rows(model: &dyn ReadModel) -> Vec<(String, String)> {
    let snapshot: Box<dyn RowAccess> = model.snapshot().unwrap();
    let mut all = Vec::new();
    for table in snapshot.tables() {
        let mut after: Option<String> = None;
        loop {
            let page = snapshot.scan(table, after.as_deref(), 37).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            all.extend(
                page.into_iter()
                    .map(|(key, row)| (format!("{table} {key}"), String::from_utf8(row).unwrap())),
            );
        }
    }
    all
}

/// The rows that the embedded engine makes of a log.
fn expected_rows(log: &Log) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let mut model = super::super::tests::open(folder.path());
    project_into(&mut model, &log.events);
    rows(&model)
}
