//! Sends the rows and accounts for each.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daybook_aggregates::RefusalItem;
use daybook_commands::{Answer, CommandError, Dispatcher, ErrorKind, Principal, Reply, Request};
use daybook_eventlog::{EventLog, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::place::{Keeper, Place};
use super::row::Row;
use super::source::{Numbered, Source, SourceError};
use super::twice::Twice;

/// Rows that are handed on at once.
const BATCH: usize = 512;
/// Between two attempts to find room for a row.
const PAUSE: Duration = Duration::from_millis(1);
/// The same in bytes, of rows and commands.
const BATCH_BYTES: usize = 1 << 20;
/// Batches read ahead.
const AHEAD: usize = 8;
/// Bytes of rows and commands under way at once.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Commands under way at once.
    pub in_flight: usize,
    /// Decide, and write nothing.
    pub dry_run: bool,
    /// How often the place is kept.
    pub note_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { in_flight: 8_192, dry_run: false, note_every: Duration::from_secs(2) }
    }
}

/// Opens the bytes of a file from their beginning.
type Open = Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send>;

/// A file of rows.
pub struct Input {
    /// Opens it; asked for a second time if a place was kept that is not the file's.
    pub open: Open,
    /// Where the place is kept; `None` for what can be read only once.
    pub place: Option<PathBuf>,
    /// The log that the rows go to.
    pub log: Arc<dyn EventLog>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// Rows that are done, those of an earlier run included.
    pub rows: u64,
    /// Bytes of the file that were read.
    pub bytes: u64,
}

/// What the rows came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub dry_run: bool,
    pub rows: u64,
    /// Variants that were created; in a dry run, that would be.
    pub created: u64,
    /// Rows that found what they say already there.
    pub unchanged: u64,
    pub refused: u64,
    /// Refused rows by the code of their first reason.
    pub codes: BTreeMap<String, u64>,
    /// Rows that an earlier run had done.
    pub resumed_after: u64,
    /// SHA-256 over the rows.
    pub rows_sha256: String,
}

/// Why an import stopped. What was acknowledged stays; starting again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the file could not be opened")]
    Open(#[source] io::Error),
    #[error("the file could not be read after row {row}")]
    Source { row: u64, source: SourceError },
    #[error("row {row} was not carried out")]
    Command { row: u64, source: CommandError },
    #[error("the file of refused rows could not be written")]
    Errors(#[source] io::Error),
    #[error("the place could not be noted")]
    Place(#[source] io::Error),
    #[error("the place of an earlier run could not be compared with the log")]
    Log(#[from] ReadError),
}

/// The file of refused rows, made with the first of them.
pub struct Errors {
    path: PathBuf,
    file: Option<io::BufWriter<File>>,
    bytes: u64,
}

/// A refused row, with every reason.
#[derive(Serialize)]
struct RefusedRow<'a> {
    row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [RefusalItem],
    /// As it stands in the file.
    raw: std::borrow::Cow<'a, str>,
}

impl Errors {
    /// Refused rows go to this file, a JSON object a line.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        // Named for sure in a place; where the working folder is gone there is none that could be named.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, file: None, bytes: 0 }
    }

    /// What an earlier run left beyond `keep` bytes belongs to rows that come again.
    fn keep(&mut self, keep: u64) -> io::Result<()> {
        if keep > 0 {
            let file = File::options().append(true).open(&self.path)?;
            file.set_len(keep)?;
            (self.file, self.bytes) = (Some(io::BufWriter::new(file)), keep);
        } else if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        Ok(())
    }

    fn write(&mut self, refused: &RefusedRow<'_>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(io::BufWriter::new(File::create(&self.path)?)),
        };
        let mut line = serde_json::to_vec(refused).expect("plain data serializes");
        line.push(b'\n');
        self.bytes += line.len() as u64;
        file.write_all(&line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Rows as they come from the thread that reads.
struct Batch {
    rows: Vec<Numbered>,
    /// Over all rows up to the last of these.
    hash: String,
    bytes: u64,
}

/// Imports the rows of a file through the command path; a row that is refused goes to `errors`.
pub async fn import(
    input: Input,
    dispatcher: &Dispatcher,
    principal: &Principal,
    options: Options,
    errors: &mut Errors,
    mut progress: impl FnMut(Advance) + Send,
) -> Result<Report, ImportError> {
    if options.dry_run {
        Keeper::new(input.place.clone(), Arc::clone(&input.log))
            .give_up(&errors.path)
            .map_err(ImportError::Place)?;
    }
    let keeper = Keeper::new(input.place.filter(|_| !options.dry_run), input.log);
    let place = keeper.load(&errors.path).await?;
    let (sender, mut batches) = mpsc::channel(AHEAD);
    let (open, found) = (input.open, place.clone());
    let reader = tokio::task::spawn_blocking(move || read(&open, found, &sender));
    let mut run = Run {
        dispatcher,
        principal,
        options,
        errors,
        keeper,
        in_flight: VecDeque::new(),
        bytes: 0,
        ends: VecDeque::new(),
        report: Report { dry_run: options.dry_run, ..Report::default() },
        twice: Twice::default(),
        noted: Instant::now(),
        progress: &mut progress,
    };
    let result = run.all(place, &mut batches).await;
    // The reader stops when nobody takes what it reads; its own error is the more telling one.
    drop(batches);
    let read = reader.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    result?;
    read?;
    run.keeper.remove().map_err(ImportError::Place)?;
    Ok(run.report)
}

/// Reads on after the place, if the rows before it are the file's; else all of it. The first thing sent tells which.
fn read(open: &Open, place: Option<Place>, sender: &mpsc::Sender<Sent>) -> Result<(), ImportError> {
    let count = Arc::new(AtomicU64::new(0));
    let start = || -> Result<Source, ImportError> {
        count.store(0, Ordering::Relaxed);
        let inner = open().map_err(ImportError::Open)?;
        Source::counted(inner, Arc::clone(&count)).map_err(|source| ImportError::Source { row: 0, source })
    };
    let mut source = start()?;
    let resumed = match place {
        Some(place) => {
            let there = source.skip(place.rows).map_err(|source| ImportError::Source { row: 0, source })?;
            let same = there == place.rows && source.hash() == place.hash;
            if !same {
                source = start()?;
            }
            same
        }
        None => false,
    };
    if sender.blocking_send(Sent::Start { resumed }).is_err() {
        return Ok(());
    }
    let mut last = 0;
    loop {
        let mut rows = Vec::with_capacity(BATCH);
        let mut bytes = 0;
        while rows.len() < BATCH && bytes < BATCH_BYTES {
            match source.read().map_err(|source| ImportError::Source { row: last, source })? {
                Some(row) => {
                    last = row.number;
                    bytes += row.bytes();
                    rows.push(row);
                }
                None => break,
            }
        }
        let end = rows.is_empty();
        let batch = Batch { rows, hash: source.hash(), bytes: count.load(Ordering::Relaxed) };
        if sender.blocking_send(Sent::Rows(batch)).is_err() || end {
            return Ok(());
        }
    }
}

/// What the reading thread says.
enum Sent {
    Start {
        resumed: bool,
    },
    /// The last one is empty.
    Rows(Batch),
}

struct InFlight {
    number: u64,
    row: Row,
    raw: Box<[u8]>,
    answer: Answer,
}

/// The end of a batch: when everything up to it is done, it is a place.
struct End {
    row: u64,
    hash: String,
    bytes: u64,
}

struct Run<'a> {
    dispatcher: &'a Dispatcher,
    principal: &'a Principal,
    options: Options,
    errors: &'a mut Errors,
    keeper: Keeper,
    in_flight: VecDeque<InFlight>,
    /// Of the rows in flight.
    bytes: usize,
    ends: VecDeque<End>,
    report: Report,
    twice: Twice,
    noted: Instant,
    progress: &'a mut (dyn FnMut(Advance) + Send),
}

impl Run<'_> {
    async fn all(
        &mut self,
        place: Option<Place>,
        batches: &mut mpsc::Receiver<Sent>,
    ) -> Result<(), ImportError> {
        while let Some(sent) = batches.recv().await {
            match sent {
                Sent::Start { resumed } => self.start(place.clone().filter(|_| resumed))?,
                Sent::Rows(batch) if batch.rows.is_empty() => {
                    self.report.rows_sha256 = batch.hash;
                }
                Sent::Rows(batch) => self.take(batch).await?,
            }
        }
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        self.errors.flush().map_err(ImportError::Errors)
    }

    fn start(&mut self, place: Option<Place>) -> Result<(), ImportError> {
        let Some(place) = place else { return self.errors.keep(0).map_err(ImportError::Errors) };
        self.errors.keep(place.error_bytes).map_err(ImportError::Errors)?;
        self.report = Report { resumed_after: place.rows, ..place.report };
        Ok(())
    }

    async fn take(&mut self, batch: Batch) -> Result<(), ImportError> {
        let last = batch.rows.last().map_or(0, |row| row.number);
        for Numbered { number, row, raw } in batch.rows {
            while self.in_flight.len() >= self.options.in_flight.max(1) || self.bytes >= IN_FLIGHT_BYTES {
                self.settle_oldest().await?;
            }
            match row {
                Ok(row) => self.send(number, row, raw),
                Err(detail) => {
                    // In the order of the file, so that what is done is always a beginning of it.
                    while !self.in_flight.is_empty() {
                        self.settle_oldest().await?;
                    }
                    self.refuse(number, None, &raw, "invalid_request", &detail, &[])?;
                }
            }
        }
        self.ends.push_back(End { row: last, hash: batch.hash, bytes: batch.bytes });
        // The last row may have been one that was never sent.
        if self.in_flight.is_empty() { self.done(last).await } else { Ok(()) }
    }

    fn send(&mut self, number: u64, row: Row, raw: Box<[u8]>) {
        let answer = self.dispatch(&row);
        self.bytes += raw.len() + row.body.len();
        self.in_flight.push_back(InFlight { number, row, raw, answer });
    }

    fn dispatch(&self, row: &Row) -> Answer {
        let command = if self.options.dry_run { "check" } else { "create" };
        let request = Request::new("variant", &row.id, command, row.body.clone(), self.principal.clone());
        self.dispatcher.dispatch(request)
    }

    async fn settle_oldest(&mut self) -> Result<(), ImportError> {
        let Some(InFlight { number, row, raw, answer }) = self.in_flight.pop_front() else { return Ok(()) };
        self.bytes -= raw.len() + row.body.len();
        let mut result = answer.await;
        // The rows after it took the room; they leave it as they are done, whether or not anybody listens.
        while matches!(result, Err(CommandError::Overloaded)) {
            tokio::time::sleep(PAUSE).await;
            result = self.dispatch(&row).await;
        }
        let twice = if self.options.dry_run { self.twice.problems(&row) } else { Vec::new() };
        match result {
            Ok(reply) if twice.is_empty() => self.accept(&row, &reply),
            Ok(_) => {
                self.refuse(number, Some(&row.id), &raw, twice[0].code, &twice[0].detail, &twice)?;
            }
            Err(CommandError::Refused(refusal)) => {
                let mut errors = refusal.errors;
                errors.extend(twice);
                self.refuse(number, Some(&row.id), &raw, refusal.code, &refusal.detail, &errors)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::Invalid) => {
                self.refuse(number, Some(&row.id), &raw, error.code(), &error.to_string(), &twice)?;
            }
            Err(source) => return Err(ImportError::Command { row: number, source }),
        }
        self.done(number).await
    }

    fn accept(&mut self, row: &Row, reply: &Reply) {
        self.report.rows += 1;
        // A check writes nothing: the revision tells whether the variant is there.
        let created = if self.options.dry_run { reply.revision == 0 } else { reply.created };
        if created {
            self.report.created += 1;
        } else {
            self.report.unchanged += 1;
        }
        if self.options.dry_run {
            self.twice.take(row);
        }
    }

    fn refuse(
        &mut self,
        row: u64,
        id: Option<&str>,
        raw: &[u8],
        code: &str,
        detail: &str,
        errors: &[RefusalItem],
    ) -> Result<(), ImportError> {
        self.report.rows += 1;
        self.report.refused += 1;
        *self.report.codes.entry(code.to_owned()).or_default() += 1;
        let raw = String::from_utf8_lossy(raw);
        self.errors.write(&RefusedRow { row, id, code, detail, errors, raw }).map_err(ImportError::Errors)
    }

    /// All rows up to this one are done: at the end of a batch, tells how far it is, and keeps the place now and then.
    async fn done(&mut self, row: u64) -> Result<(), ImportError> {
        let Some(end) = self.ends.pop_front_if(|end| end.row == row) else { return Ok(()) };
        (self.progress)(Advance { rows: row, bytes: end.bytes });
        if self.noted.elapsed() < self.options.note_every {
            return Ok(());
        }
        self.noted = Instant::now();
        let mark = match self.keeper.mark().await {
            Ok(Some(mark)) => mark,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the place could not be noted; trying again later");
                return Ok(());
            }
        };
        self.errors.flush().map_err(ImportError::Errors)?;
        let (errors, error_bytes) = (self.errors.path.clone(), self.errors.bytes);
        let (hash, report) = (end.hash, self.report.clone());
        let place = Place { rows: row, hash, mark, errors, error_bytes, report };
        self.keeper.save(&place).map_err(ImportError::Place)
    }
}
