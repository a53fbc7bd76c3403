//! `log …` and `state`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use daybook_eventlog::segment::{self, BackupError, Transfer};
use daybook_eventlog::{EventLog, Filter, RecordedEvent, StreamId};
use daybook_replay::time_travel::{self, AsOf};
use serde_json::json;

use super::args::{self, Format, Global, State};
use super::part::{Existing, PartFile};
use super::remote::{ask, download, encoded, print_events};
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::http::events::EventBody;
use crate::node::{
    self,
    log::{Log, Opening},
};
use crate::usage::{Usage, cannot_open, mistake};

const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 8 << 20;

pub(super) async fn run(global: &Global, config: Config, command: args::Log) -> anyhow::Result<Outcome> {
    match command {
        args::Log::Head => head(global, &config).await,
        args::Log::Read { from, limit, types, stream_prefix } => {
            let filter = Filter { types, stream_prefixes: stream_prefix };
            if let Some(url) = &global.server {
                let types = filter.types.iter().map(|text| ("type", text));
                let prefixes = filter.stream_prefixes.iter().map(|text| ("stream_prefix", text));
                let pairs = types.chain(prefixes).map(|(name, text)| format!("{name}={}", encoded(text)));
                let route = format!("/v1/events?{}", pairs.collect::<Vec<_>>().join("&"));
                return print_events(global, url, &route, from, limit.unwrap_or(u64::MAX)).await;
            }
            let log = Log::open(&config, Opening::Read).await?;
            let read = read(&*log, from, limit.unwrap_or(u64::MAX), &filter).await;
            log.close().await;
            read
        }
        args::Log::Stream { stream, from, limit } => {
            let stream = StreamId::new(&stream).map_err(Usage::of)?;
            if let Some(url) = &global.server {
                let route = format!("/v1/streams/{}", encoded(stream.as_str()));
                return print_events(global, url, &route, from.max(1), limit.unwrap_or(u64::MAX)).await;
            }
            let log = Log::open(&config, Opening::Read).await?;
            let read = read_stream(&*log, &stream, from.max(1), limit.unwrap_or(u64::MAX)).await;
            log.close().await;
            read
        }
        args::Log::Export { file, from } => export(global, &config, file, from).await,
        args::Log::Import { file } => import(global, config, file).await,
    }
}

/// The file gets its name once it is whole. What a server sent is read to its end first: only then is it known to be.
async fn export(global: &Global, config: &Config, file: PathBuf, after: u64) -> anyhow::Result<Outcome> {
    let (mut part, copied) = match &global.server {
        Some(url) => {
            let mut part = PartFile::create(&file, Existing::Refused)?;
            let path = format!("/v1/operations/export?from={after}");
            download(global, url, &path, &mut part).await?;
            (part, None)
        }
        None => {
            let log = Log::open(config, Opening::Read).await?;
            let mut part = PartFile::create(&file, Existing::Refused)?;
            let copy = move || match log.export(&mut part, after) {
                Ok(transfer) => Ok((part, Some(transfer))),
                // As a server refuses a position that it can't begin after.
                Err(error) if matches!(error.downcast_ref(), Some(BackupError::DoesNotChain(_))) => {
                    Err(Usage::of(error))
                }
                Err(error) => Err(error),
            };
            tokio::task::spawn_blocking(copy).await??
        }
    };
    let finish = move || -> anyhow::Result<Transfer> {
        let transfer = match copied {
            Some(transfer) => transfer,
            None => segment::inspect(&mut BufReader::with_capacity(1 << 18, part.written()?))
                .context("what the server sent is no export")?,
        };
        anyhow::ensure!(transfer.first == after + 1, "the server sent an export from another position");
        part.finish().map(|()| transfer)
    };
    print_transfer(global, "exported", tokio::task::spawn_blocking(finish).await??)
}

async fn import(global: &Global, config: Config, file: PathBuf) -> anyhow::Result<Outcome> {
    if global.server.is_some() {
        mistake!(
            "a log is imported at rest: stop the server and run this with --data DIR instead of --server"
        );
    }
    let copy = move || -> anyhow::Result<Transfer> {
        let input = File::open(&file).map_err(|error| cannot_open(&file, error))?;
        node::log::import(&config, &mut BufReader::new(input))
            .with_context(|| format!("{} was not imported", file.display()))
    };
    print_transfer(global, "imported", tokio::task::spawn_blocking(copy).await??)
}

fn print_transfer(global: &Global, what: &str, transfer: Transfer) -> anyhow::Result<Outcome> {
    let Transfer { first, last, events } = transfer;
    if global.format == Format::Json {
        return print_json(&json!({"first": first.to_string(), "last": last.to_string(), "events": events}));
    }
    print_line(format_args!("{what} {events} events, positions {first} to {last}"))?;
    Ok(Outcome::Done)
}

async fn head(global: &Global, config: &Config) -> anyhow::Result<Outcome> {
    let value = match &global.server {
        Some(url) => ask(global, url, "GET", "/v1/operations/head", None).await?,
        None => {
            let log = Log::open(config, Opening::Read).await?;
            let head = log.head().await?;
            log.close().await;
            json!({"position": head.position.to_string(), "events": head.events})
        }
    };
    if global.format == Format::Json {
        return print_json(&value);
    }
    print_line(format_args!(
        "position {}, {} events",
        value["position"].as_str().unwrap_or("?"),
        value["events"]
    ))?;
    Ok(Outcome::Done)
}

async fn read(log: &dyn EventLog, mut after: u64, mut left: u64, filter: &Filter) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    while left > 0 {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_EVENTS);
        let page = log.read_all(after, filter, limit, PAGE_BYTES).await?;
        for event in &page.events {
            print_event(&mut out, event)?;
        }
        left -= page.events.len() as u64;
        after = page.scanned_to.max(after);
        if page.at_head {
            break;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

async fn read_stream(
    log: &dyn EventLog,
    stream: &StreamId,
    mut from: u64,
    mut left: u64,
) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut found = false;
    while left > 0 {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_EVENTS);
        let events = log.read_stream(stream, from, limit).await?;
        let Some(last) = events.last() else { break };
        from = last.revision + 1;
        left -= events.len() as u64;
        found = true;
        for event in &events {
            print_event(&mut out, event)?;
        }
    }
    out.flush()?;
    if !found && log.stream_revision(stream).await? == 0 {
        bail!("there is no stream {stream}");
    }
    Ok(Outcome::Done)
}

fn print_event(out: &mut impl Write, event: &RecordedEvent) -> anyhow::Result<()> {
    let body = EventBody::new(event)
        .map_err(|problem| anyhow::anyhow!("position {}: {}", event.position, problem.detail))?;
    serde_json::to_writer(&mut *out, &body)?;
    Ok(out.write_all(b"\n")?)
}

/// `daybook state`.
pub(super) async fn state(global: &Global, config: Config, args: State) -> anyhow::Result<Outcome> {
    let as_of = match (args.revision, args.at) {
        (Some(revision), _) => AsOf::Revision(revision),
        (None, Some(time)) => AsOf::Time(time),
        (None, None) => AsOf::Now,
    };
    time_travel::check(&args.aggregate, &args.id)?;
    let value = match &global.server {
        Some(url) => {
            let query = match as_of {
                AsOf::Now => String::new(),
                AsOf::Revision(revision) => format!("?revision={revision}"),
                AsOf::Time(time) => format!("?at={time}"),
            };
            ask(global, url, "GET", &format!("/v1/state/{}/{}{query}", args.aggregate, args.id), None).await?
        }
        None => {
            let log = Log::open(&config, Opening::Read).await?;
            let state = time_travel::state(&*log, &args.aggregate, &args.id, as_of).await;
            log.close().await;
            serde_json::to_value(state?)?
        }
    };
    if global.format == Format::Json {
        return print_json(&value);
    }
    print_line(format_args!("{}", serde_json::to_string_pretty(&value)?))?;
    Ok(Outcome::Done)
}
