//! Keeps the [`Book`] on disk between runs, so that a start reads only the end of the log.
//!
//! The file is disposable: a missing, damaged, older or foreign one only means that the whole log is read once more. It
//! is one line of JSON with the format, the last event that is in it and a CRC-32C, then the book as JSON; it is written
//! beside its place and renamed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daybook_eventlog::{EventLog, Position, ReadError, StreamId};
use daybook_schemas::{ScheduleId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::book::{Book, OpenHold};
use crate::mark::Mark;

/// A new one for every change of what the file holds.
const FORMAT: u32 = 1;
/// So many events behind, the file is written before its time.
const FAR_BEHIND: u64 = 1_000_000;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    position: Position,
    /// Position and id of the last event that matters.
    mark: (Position, String),
    crc32c: u32,
}

#[derive(Serialize, Deserialize)]
struct Body {
    holds: Vec<(String, Vec<OpenHold>)>,
    prices: Vec<(String, Vec<(ScheduleId, Timestamp)>)>,
}

/// The book in the file, if there is one and it belongs to this log.
pub(crate) async fn load(path: &Path, log: &dyn EventLog) -> Option<Book> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the checkpoint of deadlines could not be read");
            return None;
        }
    };
    let Some(book) = decode(&bytes) else {
        tracing::warn!(path = %path.display(), "the checkpoint of deadlines is damaged or of another version; reading the whole log");
        return None;
    };
    match belongs(&book, log).await {
        Ok(true) => Some(book),
        Ok(false) => {
            tracing::warn!(path = %path.display(), "the checkpoint of deadlines belongs to another log; reading the whole log");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the log could not be compared with the checkpoint of deadlines");
            None
        }
    }
}

async fn belongs(book: &Book, log: &dyn EventLog) -> Result<bool, ReadError> {
    let Some(mark) = book.mark else { return Ok(false) };
    if book.position > log.head().await?.position {
        return Ok(false);
    }
    mark.is_in(log).await
}

fn decode(bytes: &[u8]) -> Option<Book> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (header, body) = (&bytes[..end], &bytes[end + 1..]);
    let header: Header = serde_json::from_slice(header).ok()?;
    if header.format != FORMAT || header.crc32c != crc32c::crc32c(body) {
        return None;
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let (position, event_id) = header.mark;
    let mark = Mark { position, event_id: Uuid::parse_str(&event_id).ok()? };
    let mut book = Book { position: header.position, mark: Some(mark), ..Book::default() };
    for (stream, holds) in body.holds {
        let holds = holds.into_iter().map(|hold| (hold.reservation.clone(), hold)).collect();
        book.holds.insert(StreamId::new(stream).ok()?, holds);
    }
    for (stream, prices) in body.prices {
        book.prices.insert(StreamId::new(stream).ok()?, prices);
    }
    Some(book)
}

/// Writes the book; nothing if it has taken no event in.
pub(crate) fn save(path: &Path, book: &Book) -> io::Result<()> {
    let Some(mark) = book.mark else { return Ok(()) };
    let body = Body {
        holds: book
            .holds
            .iter()
            .map(|(stream, holds)| (stream.to_string(), holds.values().cloned().collect()))
            .collect(),
        prices: book.prices.iter().map(|(stream, prices)| (stream.to_string(), prices.clone())).collect(),
    };
    let body = serde_json::to_vec(&body)?;
    let mark = (mark.position, mark.event_id.to_string());
    let header = Header { format: FORMAT, position: book.position, mark, crc32c: crc32c::crc32c(&body) };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut file = fs::File::create(&beside)?;
    serde_json::to_writer(&mut file, &header)?;
    file.write_all(b"\n")?;
    file.write_all(&body)?;
    // Without this a crash could leave an empty file under the name: harmless, but a needless long start.
    file.sync_data()?;
    fs::rename(&beside, path)
}

/// The thread that follows the log and writes the file now and then.
pub(crate) struct Checkpointer {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    pub(crate) fn start(
        path: PathBuf,
        every: Duration,
        book: Book,
        log: Arc<dyn EventLog>,
        runtime: Handle,
    ) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let keeper = Keeper { path, every, book, log, runtime };
        let thread =
            std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || keeper.run(&stopped))?;
        Ok(Self { stop, thread })
    }

    /// Writes the file a last time.
    pub(crate) fn finish(self) {
        // If the thread is gone there is nothing to wait for.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

struct Keeper {
    path: PathBuf,
    every: Duration,
    book: Book,
    log: Arc<dyn EventLog>,
    runtime: Handle,
}

impl Keeper {
    fn run(mut self, stopped: &Receiver<()>) {
        let head = self.log.watch_head();
        let mut written = Instant::now();
        loop {
            let stopping = match stopped.recv_timeout(self.every.min(Duration::from_secs(1))) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            let behind = head.borrow().saturating_sub(self.book.position);
            if stopping || behind >= FAR_BEHIND || (written.elapsed() >= self.every && behind > 0) {
                self.write();
                written = Instant::now();
            }
            if stopping {
                return;
            }
        }
    }

    fn write(&mut self) {
        if let Err(error) = self.runtime.block_on(self.book.catch_up(self.log.as_ref())) {
            tracing::warn!(%error, "deadlines could not be followed for their checkpoint");
            return;
        }
        if let Err(error) = save(&self.path, &self.book) {
            tracing::warn!(path = %self.path.display(), %error, "the checkpoint of deadlines could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_schemas::ReservationId;

    fn book() -> Book {
        let mut book = Book {
            position: 9,
            mark: Some(Mark { position: 7, event_id: Uuid::from_u128(1) }),
            ..Book::default()
        };
        let hold = OpenHold {
            reservation: ReservationId::new("r").unwrap(),
            customer: None,
            order: None,
            expires_at: Timestamp::EPOCH,
        };
        book.holds.insert(
            StreamId::new("inventory-1").unwrap(),
            [(hold.reservation.clone(), hold)].into_iter().collect(),
        );
        book
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deadlines");
        save(&path, &book()).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(decode(&bytes), Some(book()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            // A changed position or event is caught by the comparison with the log, everything else by the CRC.
            if let Some(read) = decode(&damaged) {
                assert_eq!(read.holds, book().holds);
                assert!(read.position != book().position || read.mark != book().mark, "at {at}");
            }
            assert_eq!(decode(&bytes[..at]), None);
        }
    }
}
