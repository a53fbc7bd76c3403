//! Everything that is compared: each makes batches of events durable before it returns.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use daybook_eventlog::{Append, EventLog, SegmentLog, SegmentOptions, StreamId};

use crate::events::{append, folder, payload, stream};

/// Payloads and streams made ahead, so that making them is measured for nobody.
pub struct Input {
    payloads: Vec<Bytes>,
    streams: Vec<StreamId>,
}

impl Input {
    pub fn new() -> Self {
        Self { payloads: (0..8_192).map(payload).collect(), streams: (0..10_000).map(stream).collect() }
    }

    pub fn payload(&self, n: u64) -> &Bytes {
        &self.payloads[n as usize % self.payloads.len()]
    }

    pub fn stream(&self, n: u64) -> &StreamId {
        &self.streams[n as usize % self.streams.len()]
    }

    fn group(&self, first: u64, count: usize) -> Vec<Append> {
        let event = |n| append(n, self.stream(n).clone(), n / 10_000, self.payload(n).clone());
        (first..first + count as u64).map(event).collect()
    }
}

/// Something that makes batches of events durable.
pub trait Contender {
    fn name(&self) -> &'static str;

    /// Writes `size` events, numbered from `first`, and returns when they are on the disk.
    fn commit(&mut self, input: &Input, first: u64, size: usize);

    /// So many commits one after the other.
    fn run(&mut self, input: &Input, first: u64, commits: usize, size: usize) {
        for commit in 0..commits {
            self.commit(input, first + (commit * size) as u64, size);
        }
    }
}

/// One thread that writes records with a CRC-32C each to a file filled with zeros, and syncs after each batch.
pub struct Bare {
    _folder: tempfile::TempDir,
    file: File,
    at: u64,
    size: u64,
}

impl Bare {
    pub fn new() -> Self {
        let folder = folder();
        let path = folder.path().join("bare");
        let file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
        let size = 256 << 20;
        let zeros = vec![0; 1 << 20];
        for at in 0..size >> 20 {
            file.write_all_at(&zeros, at << 20).expect("zeros are written");
        }
        file.sync_all().expect("zeros are synced");
        Self { _folder: folder, file, at: 0, size }
    }
}

impl Contender for Bare {
    fn name(&self) -> &'static str {
        "bare file"
    }

    fn commit(&mut self, input: &Input, first: u64, size: usize) {
        let mut buffer = Vec::with_capacity(size * 520);
        for n in first..first + size as u64 {
            let data = input.payload(n);
            buffer.extend_from_slice(&(data.len() as u32).to_le_bytes());
            buffer.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
            buffer.extend_from_slice(data);
        }
        if self.at + buffer.len() as u64 > self.size {
            self.at = 0;
        }
        self.file.write_all_at(&buffer, self.at).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += buffer.len() as u64;
    }
}

/// This project's log. One caller waits for each batch; or has the next batch ready while one is on its way.
pub struct Segment {
    _folder: tempfile::TempDir,
    log: SegmentLog,
    runtime: tokio::runtime::Runtime,
    two_in_flight: bool,
}

impl Segment {
    pub fn new(two_in_flight: bool) -> Self {
        let folder = folder();
        let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("a new log");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { _folder: folder, log, runtime, two_in_flight }
    }
}

impl Contender for Segment {
    fn name(&self) -> &'static str {
        if self.two_in_flight { "segment log, 2 under way" } else { "segment log" }
    }

    fn commit(&mut self, input: &Input, first: u64, size: usize) {
        for result in self.runtime.block_on(self.log.append_group(input.group(first, size))) {
            result.expect("an append");
        }
    }

    fn run(&mut self, input: &Input, first: u64, commits: usize, size: usize) {
        let mut under_way = None;
        for commit in 0..commits {
            let next = self.log.append_group(input.group(first + (commit * size) as u64, size));
            let before = if self.two_in_flight { under_way.replace(next) } else { Some(next) };
            if let Some(before) = before {
                self.runtime.block_on(before).into_iter().for_each(|result| drop(result.expect("an append")));
            }
        }
        if let Some(last) = under_way {
            self.runtime.block_on(last).into_iter().for_each(|result| drop(result.expect("an append")));
        }
    }
}

#[cfg(feature = "sqlite")]
pub struct Sqlite {
    _folder: tempfile::TempDir,
    connection: rusqlite::Connection,
}

#[cfg(feature = "sqlite")]
impl Sqlite {
    pub fn new() -> Self {
        let folder = folder();
        let connection = rusqlite::Connection::open(folder.path().join("log.db")).expect("a database");
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
                 CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT, revision INTEGER, id BLOB, type TEXT, data BLOB,
                 UNIQUE (stream, revision));",
            )
            .expect("a table");
        Self { _folder: folder, connection }
    }
}

#[cfg(feature = "sqlite")]
impl Contender for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite (WAL, FULL)"
    }

    fn commit(&mut self, input: &Input, first: u64, size: usize) {
        let transaction = self.connection.transaction().expect("a transaction");
        let mut insert = transaction
            .prepare_cached("INSERT INTO events (stream, revision, id, type, data) VALUES (?, ?, ?, ?, ?)")
            .expect("a statement");
        for n in first..first + size as u64 {
            let stream = input.stream(n).as_str();
            let values = (
                stream,
                n / 10_000,
                u128::from(n).to_le_bytes(),
                "inventory.reserved",
                &input.payload(n)[..],
            );
            insert.execute(values).expect("an insert");
        }
        drop(insert);
        transaction.commit().expect("a commit");
    }
}

#[cfg(feature = "fjall")]
pub struct Fjall {
    _folder: tempfile::TempDir,
    database: fjall::Database,
    events: fjall::Keyspace,
    streams: fjall::Keyspace,
}

#[cfg(feature = "fjall")]
impl Fjall {
    pub fn new() -> Self {
        let folder = folder();
        let database = fjall::Database::builder(folder.path()).open().expect("a database");
        let options = fjall::KeyspaceCreateOptions::default;
        let events = database.keyspace("events", options).expect("a keyspace");
        let streams = database.keyspace("streams", options).expect("a keyspace");
        Self { _folder: folder, database, events, streams }
    }
}

#[cfg(feature = "fjall")]
impl Contender for Fjall {
    fn name(&self) -> &'static str {
        "fjall (SyncData)"
    }

    fn commit(&mut self, input: &Input, first: u64, size: usize) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for n in first..first + size as u64 {
            batch.insert(&self.events, n.to_be_bytes(), &input.payload(n)[..]);
            let key = format!("{}/{:010}", input.stream(n), n / 10_000);
            batch.insert(&self.streams, key, n.to_be_bytes());
        }
        batch.commit().expect("a commit");
    }
}

/// UmaDB's server in this process, through its own client over gRPC. A batch is one append; or as many callers as
/// events, which the server groups.
#[cfg(feature = "umadb")]
pub struct UmaDb {
    client: std::sync::Arc<umadb_client::AsyncUmaDbClient>,
    many_callers: bool,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

#[cfg(feature = "umadb")]
impl UmaDb {
    pub fn new(many_callers: bool) -> Self {
        let folder = folder();
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("a port").to_string();
        drop(free);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (place, listen) = (folder.path().to_path_buf(), address.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(umadb_server::start_server(place, &listen, stopped)).expect("a server");
        });
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let client = loop {
            let url = format!("http://{address}");
            match runtime.block_on(umadb_client::UmaDbClient::new(url).connect_async()) {
                Ok(client) => break std::sync::Arc::new(client),
                Err(error) => assert!(std::time::Instant::now() < deadline, "no server: {error}"),
            }
        };
        Self { client, many_callers, stop: Some(stop), runtime, _folder: folder }
    }
}

#[cfg(feature = "umadb")]
impl Drop for UmaDb {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }
}

#[cfg(feature = "umadb")]
impl Contender for UmaDb {
    fn name(&self) -> &'static str {
        if self.many_callers { "UmaDB, a caller an event" } else { "UmaDB, one append" }
    }

    fn commit(&mut self, input: &Input, first: u64, size: usize) {
        use umadb_dcb::DcbEventStoreAsync;
        let event = |n: u64| {
            umadb_dcb::DcbEvent::default()
                .event_type("inventory.reserved")
                .tags([input.stream(n).as_str()])
                .data(&input.payload(n)[..])
                .uuid(uuid::Uuid::from_u128(u128::from(n) << 64 | 7))
        };
        let numbers = first..first + size as u64;
        if self.many_callers {
            let calls: Vec<_> = numbers
                .map(|n| {
                    let (client, event) = (self.client.clone(), event(n));
                    self.runtime.spawn(async move { client.append(vec![event], None, None).await })
                })
                .collect();
            for call in self.runtime.block_on(futures::future::join_all(calls)) {
                call.expect("a task").expect("an append");
            }
        } else {
            let events = numbers.map(event).collect();
            self.runtime.block_on(self.client.append(events, None, None)).expect("an append");
        }
    }
}
