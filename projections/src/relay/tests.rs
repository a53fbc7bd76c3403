//! Tests on a real server with JetStream: `DAYBOOK_TEST_NATS_URL` says that one may be started (`start_nats` in
//! `tests/servers.sh`). Without it they are skipped, and say so; with `DAYBOOK_TEST_REQUIRE_SERVERS=1` they fail instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use daybook_eventlog::pass_to_log;
use daybook_eventlog::{EventLog, Filter, Position, RecordedEvent};
use daybook_schemas::inventory::Received;
use serde_json::json;
use tokio::sync::watch;

use super::stream::Connection;
use super::*;
use crate::generations::{ReadModelKind, RowKind};
use crate::inventory::Inventory;
use crate::runner::ProjectionHandle;
use crate::testing::{World, dump, eventually, payload};

fn url() -> Option<String> {
    let url = std::env::var("DAYBOOK_TEST_NATS_URL").ok();
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but DAYBOOK_TEST_NATS_URL is not set");
        eprintln!("skipped: DAYBOOK_TEST_NATS_URL is not set");
    }
    url
}

/// A private server, ended with the test.
struct Private {
    folder: PathBuf,
    url: String,
}

impl Private {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("daybook-nats-{}-{number}", std::process::id()));
        let url = Self::script(&folder, "start_nats \"$1\" && echo \"$DAYBOOK_TEST_NATS_URL\"");
        Self { folder, url: url.trim().to_owned() }
    }

    fn script(folder: &Path, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers.sh");
        let output = Command::new("bash")
            .args(["-c", &format!(". '{}' && {command}", script.display()), "bash"])
            .arg(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn kill(&self) {
        Self::script(&self.folder, "end_nats \"$1\" KILL");
    }

    fn run(&self) {
        Self::script(&self.folder, "run_nats \"$1\"");
    }

    fn options(&self) -> NatsOptions {
        NatsOptions { url: self.url.clone(), timeout: Duration::from_secs(2), ..NatsOptions::default() }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        Self::script(&self.folder, "stop_nats \"$1\"");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn received(world: &World, id: u64) -> Position {
    let event = payload::<Received>(json!({"location": "default", "quantity": 1 + id % 7}));
    world.append(&format!("inventory-v.{id}"), daybook_schemas::inventory::Event::from(event))
}

fn relay(world: &World, options: &NatsOptions) -> ProjectionHandle {
    let connection = Connection::new(options).unwrap();
    Relay::start(&connection, world.log(), world.runtime.handle()).unwrap()
}

/// Every message is synced.
const PATIENCE: Duration = Duration::from_secs(240);

fn wait(world: &World, handle: &ProjectionHandle, position: Position) {
    world.runtime.block_on(handle.wait_for(position, PATIENCE)).unwrap();
}

/// Everything that is in the stream, in its order.
fn relayed(options: &NatsOptions) -> Vec<(String, RecordedEvent)> {
    let options = NatsOptions { timeout: Duration::from_secs(20), ..options.clone() };
    let connection = Connection::new(&options).unwrap();
    let of = connection.clone();
    let messages = connection.wait(async move {
        let events = of.events().await?;
        let state = events.get_info().await.map_err(super::stream::unavailable)?.state;
        let mut messages = Vec::new();
        // One that has just been made has no first message.
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = events.get_raw_message(sequence).await.map_err(super::stream::unavailable)?;
            messages.push((message.subject.to_string(), decode(&message.payload).unwrap()));
        }
        Ok(messages)
    });
    messages.unwrap()
}

fn logged(world: &World) -> Vec<RecordedEvent> {
    let every = Filter::default();
    let read = world.log.read_all(0, &every, usize::MAX, usize::MAX);
    world.runtime.block_on(read).unwrap().events
}

/// Every event at least once, and in its stream's order once what comes again is left out.
fn complete_and_in_order(messages: &[(String, RecordedEvent)], world: &World) {
    let mut revisions: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen: Vec<&RecordedEvent> = Vec::new();
    for (subject, event) in messages {
        assert_eq!(*subject, super::subject("daybook", event.stream(), event.event_type()));
        let last = revisions.entry(event.stream()).or_default();
        assert!(event.revision <= *last + 1, "a gap in {}", event.stream());
        if event.revision > *last {
            *last = event.revision;
            seen.push(event);
        }
    }
    let logged = logged(world);
    assert_eq!(seen, logged.iter().collect::<Vec<_>>());
}

#[test]
fn events_are_relayed_whatever_becomes_of_server_and_relay() {
    if url().is_none() {
        return;
    }
    let server = Private::start();
    let options = server.options();
    let world = Arc::new(World::new());
    let handle = relay(&world, &options);
    for n in 0..3_000 {
        received(&world, n % 40);
    }
    // Killed and started again twice under load.
    for round in 0..2_u64 {
        let writer = Arc::clone(&world);
        let load =
            std::thread::spawn(move || (0..4_000).map(|n| received(&writer, n % 40 + round)).max().unwrap());
        server.kill();
        eventually("the relay waits for the server", || handle.status().retries > round);
        server.run();
        wait(&world, &handle, load.join().unwrap());
    }
    world.runtime.block_on(handle.stop());
    // Another relay goes on from where the first was.
    let end = received(&world, 1);
    let next = relay(&world, &options);
    wait(&world, &next, end);
    world.runtime.block_on(next.stop());
    let messages = relayed(&options);
    complete_and_in_order(&messages, &world);
    assert_eq!(messages.len(), logged(&world).len(), "the stream takes no event twice");
}

#[test]
fn of_two_relays_one_gets_through() {
    if url().is_none() {
        return;
    }
    let server = Private::start();
    let options = server.options();
    let world = World::new();
    let both = [relay(&world, &options), relay(&world, &options)];
    let mut end = 0;
    for n in 0..2_000 {
        end = received(&world, n % 20);
    }
    for handle in &both {
        wait(&world, handle, end);
    }
    let messages = relayed(&options);
    complete_and_in_order(&messages, &world);
    assert_eq!(messages.len(), logged(&world).len(), "the stream takes no event twice");
    both.iter().for_each(|handle| world.runtime.block_on(handle.stop()));
}

#[test]
fn a_purged_stream_is_gone_on_with_and_a_lost_one_filled_again() {
    if url().is_none() {
        return;
    }
    let server = Private::start();
    let options = server.options();
    let world = World::new();
    let handle = relay(&world, &options);
    let mut end = 0;
    for n in 0..300 {
        end = received(&world, n % 10);
    }
    wait(&world, &handle, end);
    world.runtime.block_on(handle.stop());
    let connection = Connection::new(&options).unwrap();
    let of = connection.clone();
    let purged = connection.wait(async move {
        of.events().await?.purge().await.map_err(super::stream::unavailable)?;
        Ok(())
    });
    purged.unwrap();
    let end = received(&world, 3);
    let handle = relay(&world, &options);
    wait(&world, &handle, end);
    assert_eq!(relayed(&options).iter().map(|(_, event)| event.position).collect::<Vec<_>>(), [end]);
    let of = connection.clone();
    let deleted = connection.wait(async move {
        of.context.delete_stream("daybook").await.map_err(super::stream::unavailable)?;
        Ok(())
    });
    deleted.unwrap();
    let end = received(&world, 4);
    eventually("the whole log is there again", || {
        let last = relayed(&options).last().map(|(_, event)| event.position);
        last == Some(end)
    });
    complete_and_in_order(&relayed(&options), &world);
    world.runtime.block_on(handle.stop());
}

#[test]
fn a_read_model_fed_from_relayed_events_equals_one_fed_from_the_log() {
    if url().is_none() {
        return;
    }
    let server = Private::start();
    let options = server.options();
    let world = World::new();
    let kind = RowKind::new(|| Inventory);
    let open = |name: &str| kind.open(&world.folder().join(name), 1).unwrap();
    let handle = relay(&world, &options);
    let follow = || Follower::start(&options, "inventory", open("remote").model).unwrap();
    let reach = |follower: &Follower, position| {
        let mut checkpoint = follower.watch_checkpoint();
        let reached = world.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, checkpoint.wait_for(|at| *at >= position)).await.is_ok()
        });
        assert!(reached, "the follower did not reach {position}");
    };
    let append = |count: u64| (0..count).map(|n| received(&world, n % 30)).max().unwrap();
    let end = append(1_500);
    let follower = follow();
    reach(&follower, end);
    server.kill();
    let end = append(500);
    server.run();
    reach(&follower, end);
    drop(follower.stop());
    // Ended and begun again: what was acknowledged does not come again, and would not matter.
    let end = append(700);
    let follower = follow();
    reach(&follower, end);
    let remote = follower.stop().unwrap();
    let local = open("local");
    let mut progress = |_| {};
    let local = crate::runner::catch_up(
        "inventory",
        local.model,
        world.log(),
        world.runtime.handle(),
        crate::runner::RunnerOptions::default(),
        end,
        &mut progress,
    );
    let rows = |model: &dyn crate::model::ReadModel| dump(&*model.snapshot().unwrap());
    assert_eq!(rows(&*remote), rows(&*local.unwrap()));
    world.runtime.block_on(handle.stop());
}

/// Another gateway's view of a log, which notices nothing by itself: only when it is told to look.
struct Dozing {
    log: Arc<dyn EventLog>,
    head: watch::Sender<Position>,
}

impl EventLog for Dozing {
    pass_to_log!(log: capabilities, append, append_group, read_stream, stream_revision, read_all, head, close);

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn look(&self) {
        self.head.send_replace(*self.log.watch_head().borrow());
    }
}

#[test]
fn gateways_wake_each_other_also_after_the_server_was_away() {
    if url().is_none() {
        return;
    }
    let (server, world) = (Private::start(), World::new());
    let connections = [(); 2].map(|()| Connection::new(&server.options()).unwrap());
    let dozing = Arc::new(Dozing { log: world.log(), head: watch::channel(0).0 });
    let _writer = WakeUps::begin(&connections[0], world.log());
    let listener = WakeUps::begin(&connections[1], dozing.clone());
    let mut id = 0;
    // What was said before the listener had subscribed is lost; what comes later says more.
    let mut woken_after = |before: Position| {
        id += 1;
        received(&world, id);
        *dozing.head.borrow() > before
    };
    eventually("the first wake-up", || woken_after(0));
    // Whoever reaches the server can say what is false: nobody reads more from it than that it is time to look.
    let subject = format!("{}-wake", server.options().prefix);
    for hostile in ["18446744073709551615", "99999999999999999999999", "-1", "\u{fffd}", ""] {
        let (client, subject) = (connections[0].client(), subject.clone());
        connections[0]
            .wait(async move {
                client.publish(subject, hostile.into()).await.map_err(stream::unavailable)?;
                client.flush().await.map_err(stream::unavailable)
            })
            .unwrap();
    }
    let before = world.head();
    eventually("a wake-up after false ones", || woken_after(before));
    server.kill();
    let before = woken_after(0).then(|| world.head()).unwrap();
    server.run();
    eventually("a wake-up after the server was away", || woken_after(before));
    // Who is told to stop sleeps on, while others are woken.
    drop(listener);
    let other = Arc::new(Dozing { log: world.log(), head: watch::channel(0).0 });
    let _other = WakeUps::begin(&connections[1], other.clone());
    let asleep = *dozing.head.borrow();
    eventually("another listener to be woken", || woken_after(0) && *other.head.borrow() > asleep + 1);
    let asleep = *dozing.head.borrow();
    let next = received(&world, 10_000);
    eventually("the other to be woken again", || *other.head.borrow() >= next);
    assert_eq!(*dozing.head.borrow(), asleep);
}
