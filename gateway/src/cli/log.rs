//! `log …` and `state`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use daybook_eventlog::segment::Transfer;
use daybook_eventlog::{EventLog, Filter, RecordedEvent, StreamId};
use daybook_replay::time_travel::{self, AsOf};
use serde_json::json;

use super::args::{self, Format, Global, State};
use super::operate::ask;
use super::remote::{encoded, print_events};
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::http::events::EventBody;
use crate::node::{
    self,
    log::{Log, Opening},
};

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
            let log = Log::open(&config, Opening::Existing).await?;
            let read = read(&*log, from, limit.unwrap_or(u64::MAX), &filter).await;
            log.close().await;
            read
        }
        args::Log::Stream { stream, from, limit } => {
            let stream = StreamId::new(&stream)?;
            if let Some(url) = &global.server {
                let route = format!("/v1/streams/{}", encoded(stream.as_str()));
                return print_events(global, url, &route, from.max(1), limit.unwrap_or(u64::MAX)).await;
            }
            let log = Log::open(&config, Opening::Existing).await?;
            let read = read_stream(&*log, &stream, from.max(1), limit.unwrap_or(u64::MAX)).await;
            log.close().await;
            read
        }
        args::Log::Export { file, from } => export(global, &config, file, from).await,
        args::Log::Import { file } => import(global, config, file).await,
    }
}

/// Writes beside the file and renames, so that a cut-off export is never taken for a whole one.
async fn export(global: &Global, config: &Config, file: PathBuf, after: u64) -> anyhow::Result<Outcome> {
    if let Some(url) = &global.server {
        bail!("a running server gives its copy at {url}/v1/operations/export?from={after}");
    }
    if file.exists() {
        bail!("{} exists; name a new file", file.display());
    }
    let log = Log::open(config, Opening::Existing).await?;
    let copy = move || -> anyhow::Result<Transfer> {
        let part = part_of(&file);
        let mut out =
            BufWriter::new(File::create(&part).with_context(|| format!("cannot write {}", part.display()))?);
        let transfer = log.export(&mut out, after)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&part, &file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(transfer)
    };
    print_transfer(global, "exported", tokio::task::spawn_blocking(copy).await??)
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

async fn import(global: &Global, config: Config, file: PathBuf) -> anyhow::Result<Outcome> {
    if global.server.is_some() {
        bail!("a log is imported at rest: stop the server and run this with --data DIR instead of --server");
    }
    let copy = move || -> anyhow::Result<Transfer> {
        let input = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
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
            let log = Log::open(config, Opening::Existing).await?;
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
            let log = Log::open(&config, Opening::Existing).await?;
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
