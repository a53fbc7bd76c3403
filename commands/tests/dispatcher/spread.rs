//! Changes of master data reach the variants that use it, whatever is in the way.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use daybook_commands::Options;
use daybook_commands::spread::{FileNotes, Spread, SpreadOptions, Users};
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{Append, EventLog, Expected, NewEvent, Position, StreamAppend, StreamId};
use daybook_schemas::variant::MasterKind;
use daybook_schemas::{ValueId, VariantId};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{Shop, until};

/// Every value is used by all of these.
struct UsedBy(&'static [&'static str]);

impl Users for UsedBy {
    fn page<'a>(
        &'a self,
        _: MasterKind,
        _: &'a ValueId,
        after: Option<&'a str>,
        limit: usize,
        _: Position,
    ) -> BoxFuture<'a, Result<Vec<VariantId>, String>> {
        let later = self.0.iter().filter(|id| after.is_none_or(|after| **id > after)).take(limit);
        let found = later.map(|id| VariantId::new(*id).unwrap()).collect();
        async move { Ok(found) }.boxed()
    }
}

/// A process manager at work, stopped when it is dropped.
struct AtWork(#[expect(dead_code, reason = "stops it")] watch::Sender<bool>);

fn begin(shop: &Shop, users: &'static [&'static str], options: SpreadOptions) -> AtWork {
    let (stop, stopped) = watch::channel(false);
    let spread =
        Spread::new(Arc::clone(&shop.log), shop.dispatcher.clone(), Arc::new(UsedBy(users)), options);
    tokio::spawn(spread.run(stopped));
    AtWork(stop)
}

/// A colour, and a variant that is bound to it.
async fn navy(shop: &Shop, variant: &str) {
    shop.ok("color/navy/create", json!({"name": "Navy", "hex": "#000080"})).await;
    shop.ok("color/navy/submit", json!({})).await;
    shop.ok("color/navy/approve", json!({})).await;
    let body = json!({
        "product_id": variant, "name": "Shirt", "brand": "Acme", "category": "Shirts",
        "attributes": [{"type": "color", "value": "Navy", "value_id": "navy"}],
    });
    shop.ok(&format!("variant/{variant}/create"), body).await;
}

async fn rename(shop: &Shop, name: &str) {
    shop.ok("color/navy/change", json!({"name": name, "hex": "#000070"})).await;
}

async fn refreshed(shop: &Shop) -> usize {
    shop.history().await.iter().filter(|line| line.ends_with(" variant.attribute_refreshed")).count()
}

#[tokio::test]
async fn a_variant_that_can_not_be_told_does_not_hold_up_the_others() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let damaged = NewEvent {
        event_id: Uuid::from_u128(1),
        event_type: "variant.created",
        version: 1,
        recorded_at: 0,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::from_static(b"{}"),
    };
    let stream = StreamId::new("variant-a").unwrap();
    let append =
        Append::new(vec![StreamAppend { stream, expected: Expected::Exact(0), events: vec![damaged] }]);
    log.append(append).await.unwrap();
    let shop = Shop::with(log, Options::default()).await;
    navy(&shop, "b").await;
    rename(&shop, "Midnight").await;
    let options = SpreadOptions { batch: 1, ..SpreadOptions::default() };
    let _at_work = begin(&shop, &["a", "b"], options);
    until("the sound one knows", async || refreshed(&shop).await == 1).await;
}

#[tokio::test]
async fn only_the_one_that_leads_tells() {
    let shop = Shop::open().await;
    navy(&shop, "a").await;
    rename(&shop, "Midnight").await;
    let (lead, leads) = watch::channel(false);
    let _standby = begin(&shop, &["a"], SpreadOptions { leader: Some(leads), ..SpreadOptions::default() });
    let (_, never) = watch::channel(false);
    let _gone = begin(&shop, &["a"], SpreadOptions { leader: Some(never), ..SpreadOptions::default() });
    // News that a standby hears of and leaves alone.
    rename(&shop, "Dusk").await;
    tokio::task::yield_now().await;
    assert_eq!(refreshed(&shop).await, 0);
    lead.send_replace(true);
    until("the one that leads now has told", async || refreshed(&shop).await == 1).await;
}

#[tokio::test]
async fn a_note_of_another_log_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("spread");
    let options =
        || SpreadOptions { notes: Some(Arc::new(FileNotes(path.clone()))), ..SpreadOptions::default() };
    let shop = Shop::open().await;
    navy(&shop, "a").await;
    for name in ["One", "Two", "Three"] {
        rename(&shop, name).await;
    }
    let at_work = begin(&shop, &["a"], options());
    until("a note", async || path.exists()).await;
    drop(at_work);
    // Shorter, so that the note is beyond its head, and longer.
    for more in [0, 20] {
        let other = Shop::open().await;
        navy(&other, "a").await;
        rename(&other, "Midnight").await;
        for n in 0..more {
            other.ok(&format!("inventory/{n}/receive"), json!({"quantity": 1})).await;
        }
        let _at_work = begin(&other, &["a"], options());
        until("the change is carried on", async || refreshed(&other).await == 1).await;
    }
}
