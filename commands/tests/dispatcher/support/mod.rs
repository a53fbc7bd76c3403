//! What the tests of the dispatcher share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_aggregates::Roles;
use daybook_commands::{
    Answer, Clock, CommandError, Dispatcher, ManualClock, Options, Principal, Reply, Request,
};
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{EventLog, Filter, RecordedEvent};
use daybook_schemas::{Label, Timestamp};
use serde_json::Value;

pub(crate) mod faulty;

/// A dispatcher on a log in memory, with a clock that stands still.
pub(crate) struct Shop {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dispatcher: Dispatcher,
}

pub(crate) fn start_time() -> Timestamp {
    Timestamp::parse("2026-11-27T08:00:00Z").unwrap()
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(Arc::new(MemoryLog::new()), Options::default()).await
    }

    pub(crate) async fn with(log: Arc<dyn EventLog>, options: Options) -> Self {
        Self::at(log, options, Arc::new(ManualClock::at(start_time()))).await
    }

    pub(crate) async fn at(log: Arc<dyn EventLog>, options: Options, clock: Arc<ManualClock>) -> Self {
        let dispatcher = Dispatcher::start(log.clone(), options, clock.clone()).await.unwrap();
        Self { log, clock, dispatcher }
    }

    /// A new dispatcher on the same log and clock.
    pub(crate) async fn restarted(self, options: Options) -> Self {
        self.dispatcher.shutdown().await;
        Self::at(self.log, options, self.clock).await
    }

    pub(crate) fn send(&self, path: &str, body: Value) -> Answer {
        self.dispatcher.dispatch(request(path, &body))
    }

    pub(crate) async fn ok(&self, path: &str, body: Value) -> Reply {
        let text = body.to_string();
        self.send(path, body).await.unwrap_or_else(|error| panic!("{path} {text}: {error:?}"))
    }

    /// The code of the refusal.
    pub(crate) async fn no(&self, path: &str, body: Value) -> &'static str {
        let text = body.to_string();
        match self.send(path, body).await {
            Ok(reply) => panic!("{path} {text} was accepted: {reply:?}"),
            Err(error) => error.code(),
        }
    }

    pub(crate) async fn events(&self) -> Vec<RecordedEvent> {
        all_events(self.log.as_ref()).await
    }

    /// `stream type` of every event, in order.
    pub(crate) async fn history(&self) -> Vec<String> {
        self.events().await.iter().map(|event| format!("{} {}", event.stream(), event.event_type())).collect()
    }

    /// Creates, prices and activates a variant, and receives units of it.
    pub(crate) async fn stock(&self, variant: &str, units: u64) {
        self.variant(variant, "10.00").await;
        if units > 0 {
            self.ok(&format!("inventory/{variant}/receive"), serde_json::json!({"quantity": units})).await;
        }
    }

    /// Creates, prices and activates a variant.
    pub(crate) async fn variant(&self, variant: &str, amount: &str) {
        let body = serde_json::json!({
            "product_id": variant, "name": variant, "brand": "Acme", "category": "Shirts",
            "price": {"amount": amount, "currency": "GBP"},
        });
        self.ok(&format!("variant/{variant}/create"), body).await;
        self.ok(&format!("variant/{variant}/submit"), serde_json::json!({})).await;
        self.ok(&format!("variant/{variant}/activate"), serde_json::json!({})).await;
    }
}

/// A request for `aggregate/id/command`.
pub(crate) fn request(path: &str, body: &Value) -> Request {
    let parts: Vec<&str> = path.split('/').collect();
    Request::new(parts[0], parts[1], parts[2], body.to_string(), principal())
}

pub(crate) fn principal() -> Principal {
    Principal { name: Label::new("test").unwrap(), roles: Roles::ALL }
}

pub(crate) async fn all_events(log: &dyn EventLog) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let page = log.read_all(after, &Filter::default(), 10_000, usize::MAX).await.unwrap();
        events.extend(page.events);
        after = page.scanned_to;
        if page.at_head {
            return events;
        }
    }
}

pub(crate) fn data(event: &RecordedEvent) -> Value {
    serde_json::from_slice(event.data()).unwrap()
}

/// Waits for a condition, at most ten seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The code of an error.
pub(crate) fn code(answer: Result<Reply, CommandError>) -> &'static str {
    answer.map(|reply| panic!("accepted: {reply:?}")).unwrap_err().code()
}

pub(crate) fn now(clock: &ManualClock) -> Timestamp {
    clock.now()
}
