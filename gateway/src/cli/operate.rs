//! `projections`, `reconcile`, `verify`: on a data folder at rest, or on a running server. Both give the same reports.

use std::sync::Arc;

use anyhow::Context;
use daybook_replay::integrity::Integrity;
use daybook_replay::{digest, operations, rebuild, reconcile, verify};
use serde_json::{Value, json};

use super::args::{DeadLetters, Format, Global, Projections, Reconcile};
use super::progress::Progress;
use super::remote::{ask, ask_for};
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::node::Node;
use crate::node::log::{Log, Opening};
use crate::reconciled::Reconciled;

/// Opens the folder's node, does the work, closes it whatever came of it.
async fn at_rest<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Node) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let node = Node::open_existing(config).await?;
    let result = work(&node).await;
    node.close().await;
    result
}

/// `daybook reconcile`.
pub(super) async fn reconcile(global: &Global, config: Config, args: Reconcile) -> anyhow::Result<Outcome> {
    let report: Reconciled = match &global.server {
        Some(url) => {
            let body = json!({"names": args.names, "repair": args.repair});
            ask_for(global, url, "POST", "/v1/operations/reconcile", Some(&body)).await?
        }
        None => {
            at_rest(&config, async |node| {
                let mut bar = Progress::new("Replaying", "positions");
                let mut progress = |_: &str, done: u64, total: u64| bar.update(done, total);
                let report =
                    reconcile::reconcile(node.projections(), &args.names, args.repair, &mut progress).await;
                bar.finish();
                Ok(Reconciled::with_integrity(node, report?, &args.names, args.repair).await?)
            })
            .await?
        }
    };
    if global.format == Format::Json {
        print_json(&report)?;
    } else {
        print_reconcile(&report.drift)?;
        if let Some(integrity) = &report.integrity {
            print_integrity(integrity)?;
        }
    }
    Ok(if report.drift.clean { Outcome::Done } else { Outcome::Found })
}

fn print_reconcile(report: &reconcile::Report) -> anyhow::Result<()> {
    for projection in &report.projections {
        let verdict = match projection.drift.len() as u64 + projection.more_drift {
            0 => "clean".to_owned(),
            drifted => format!("{drifted} rows drifted, {} repaired", projection.repaired),
        };
        print_line(format_args!(
            "{:<12} generation {:<3} {:>9} rows at position {}: {verdict}",
            projection.name, projection.generation, projection.rows, projection.position
        ))?;
        for row in &projection.drift {
            print_line(format_args!(
                "  {} {}",
                serde_json::to_value(row.kind)?.as_str().unwrap_or("drift"),
                row.key
            ))?;
            for (what, value) in [("log", &row.expected), ("read model", &row.actual)] {
                if let Some(value) = value {
                    print_line(format_args!("    {what}: {value}"))?;
                }
            }
        }
        if projection.more_drift > 0 {
            print_line(format_args!("  … and {} more", projection.more_drift))?;
        }
    }
    Ok(())
}

fn print_integrity(integrity: &Integrity) -> anyhow::Result<()> {
    if let Some(reason) = &integrity.skipped {
        print_line(format_args!("references were not looked at: {reason}"))?;
        return Ok(());
    }
    let verdict = match integrity.findings.len() as u64 + integrity.more {
        0 => "clean".to_owned(),
        found => format!("{found} findings, {} repaired", integrity.repaired),
    };
    print_line(format_args!(
        "{:<12} {:>24} variants and records: {verdict}",
        "references", integrity.checked
    ))?;
    for finding in &integrity.findings {
        let kind = serde_json::to_value(finding.kind)?;
        let kind = kind.as_str().unwrap_or("finding").to_owned();
        let repaired = if finding.repaired { ", repaired" } else { "" };
        print_line(format_args!(
            "  {kind} {}: expected {}, found {}{repaired}",
            finding.key, finding.expected, finding.actual
        ))?;
    }
    if integrity.more > 0 {
        print_line(format_args!("  … and {} more", integrity.more))?;
    }
    Ok(())
}

/// `daybook verify`.
pub(super) async fn verify(global: &Global, config: Config) -> anyhow::Result<Outcome> {
    let report: verify::Report = match &global.server {
        Some(url) => ask_for(global, url, "POST", "/v1/operations/verify", None).await?,
        None => {
            match Log::open(&config, Opening::Read).await {
                Ok(log) => verify_at_rest(log).await?,
                // What opening reads is checked then: damage there is what was asked for.
                Err(error) => match Log::damage(&error) {
                    Some(failure) => verify::Report::unreadable(failure),
                    None => return Err(error),
                },
            }
        }
    };
    if global.format == Format::Json {
        print_json(&report)?;
    } else {
        print_line(format_args!(
            "{} events up to position {}: {}",
            report.events,
            report.position,
            if report.ok { "sound" } else { "NOT SOUND" }
        ))?;
        if let Some(root) = &report.root {
            print_line(format_args!("root {root}"))?;
        }
        if let Some(torn) = &report.torn_tail {
            print_line(format_args!(
                "a torn tail of {} bytes ({} at byte {}): an append that a crash broke off and that was never acknowledged; the next \
                 start cuts it",
                torn.bytes, torn.file, torn.offset
            ))?;
        }
        for failure in &report.failures {
            print_line(format_args!(
                "  position {} {} revision {}: {}: {}",
                failure.position, failure.stream, failure.revision, failure.code, failure.detail
            ))?;
        }
        if report.more_failures > 0 {
            print_line(format_args!("  … and {} more", report.more_failures))?;
        }
    }
    Ok(if report.ok { Outcome::Done } else { Outcome::Found })
}

async fn verify_at_rest(log: Log) -> anyhow::Result<verify::Report> {
    let log = Arc::new(log);
    let mut bar = Progress::new("Verifying", "positions");
    let report = verify::verify(log.events(), |done, total| bar.update(done, total)).await;
    bar.finish();
    let mut report = report?;
    report.torn_tail = log.torn_tail();
    let files = Arc::clone(&log);
    let check = move || files.verify_files();
    tokio::task::spawn_blocking(check).await??.into_iter().for_each(|failure| report.add(failure));
    log.close().await;
    Ok(report)
}

/// `daybook projections …`.
pub(super) async fn projections(
    global: &Global,
    config: Config,
    command: Projections,
) -> anyhow::Result<Outcome> {
    match command {
        Projections::List => list(global, &config).await,
        Projections::Rebuild { names } => rebuild(global, &config, names).await,
        Projections::Rollback { name } => {
            let report: rebuild::Report = match &global.server {
                Some(url) => {
                    ask_for(global, url, "POST", &format!("/v1/projections/{name}/rollback"), None).await?
                }
                None => {
                    at_rest(&config, async |node| Ok(rebuild::rollback(node.projections(), &name).await?))
                        .await?
                }
            };
            print_swaps(global, &[report])
        }
        Projections::Digest { names, facts } => {
            let scope = if facts { digest::Scope::Facts } else { digest::Scope::Bytes };
            let report: digest::Report = match &global.server {
                Some(url) => {
                    let body = json!({"names": names, "scope": scope});
                    ask_for(global, url, "POST", "/v1/operations/digest", Some(&body)).await?
                }
                None => {
                    at_rest(
                        &config,
                        async |node| Ok(digest::digest(node.projections(), &names, scope).await?),
                    )
                    .await?
                }
            };
            print_digests(global, &report)
        }
        Projections::Pause { name } => stand(global, &config, &name, true).await,
        Projections::Resume { name } => stand(global, &config, &name, false).await,
        Projections::DeadLetters(command) => dead_letters(global, &config, command).await,
    }
}

async fn list(global: &Global, config: &Config) -> anyhow::Result<Outcome> {
    let value: Value = match &global.server {
        Some(url) => ask(global, url, "GET", "/v1/projections", None).await?,
        None => at_rest(config, async |node| Ok(json!({"projections": node.projection_statuses()}))).await?,
    };
    if global.format == Format::Json {
        return print_json(&value);
    }
    print_line(format_args!(
        "{:<12} {:>10} {:>12} {:>12} {:>10}  state",
        "projection", "generation", "checkpoint", "head", "lag"
    ))?;
    for row in value["projections"].as_array().into_iter().flatten() {
        let text = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        let building = row["building"].as_object().map(|next| {
            let at = next["checkpoint"].as_str().unwrap_or("0");
            format!(", generation {} being built, at {at}", next["generation"])
        });
        print_line(format_args!(
            "{:<12} {:>10} {:>12} {:>12} {:>10}  {}{}",
            text("name"),
            text("generation"),
            text("checkpoint"),
            text("head"),
            text("lag"),
            text("state"),
            building.unwrap_or_default()
        ))?;
    }
    Ok(Outcome::Done)
}

async fn rebuild(global: &Global, config: &Config, names: Vec<String>) -> anyhow::Result<Outcome> {
    let reports = match &global.server {
        Some(url) => {
            let names = if names.is_empty() { names_on_server(global, url).await? } else { names };
            let mut reports = Vec::new();
            for name in names {
                reports.push(
                    ask_for(global, url, "POST", &format!("/v1/projections/{name}/rebuild"), None).await?,
                );
            }
            reports
        }
        None => {
            at_rest(config, async |node| {
                let names = if names.is_empty() {
                    node.projections().names().iter().map(ToString::to_string).collect()
                } else {
                    names
                };
                let mut reports = Vec::new();
                for name in names {
                    let mut bar = Progress::new(&format!("Rebuilding {name}"), "positions");
                    let mut progress = |_: &str, done: u64, total: u64| bar.update(done, total);
                    let report = rebuild::rebuild(node.projections(), &name, &mut progress).await;
                    bar.finish();
                    reports.push(report?);
                }
                Ok(reports)
            })
            .await?
        }
    };
    print_swaps(global, &reports)
}

async fn names_on_server(global: &Global, url: &str) -> anyhow::Result<Vec<String>> {
    let value = ask(global, url, "GET", "/v1/projections", None).await?;
    let rows = value["projections"].as_array().context("a list of projections")?;
    Ok(rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect())
}

fn print_swaps(global: &Global, reports: &[rebuild::Report]) -> anyhow::Result<Outcome> {
    if global.format == Format::Json {
        return print_json(&json!({"projections": reports}));
    }
    for report in reports {
        let proof =
            report.rows.map_or_else(String::new, |rows| format!(", {rows} rows proved equal to a replay"));
        print_line(format_args!(
            "{}: generation {} is live instead of {}, at position {}{proof}",
            report.name, report.to_generation, report.from_generation, report.position
        ))?;
    }
    Ok(Outcome::Done)
}

fn print_digests(global: &Global, report: &digest::Report) -> anyhow::Result<Outcome> {
    if global.format == Format::Json {
        return print_json(report);
    }
    for projection in &report.projections {
        for table in &projection.tables {
            print_line(format_args!(
                "{:<28} {:>9} rows  {}",
                format!("{}.{}", projection.name, table.table),
                table.rows,
                table.digest
            ))?;
        }
    }
    Ok(Outcome::Done)
}

/// A pause lasts until it is lifted, through restarts: so it can be told to a folder at rest as well.
async fn stand(global: &Global, config: &Config, name: &str, still: bool) -> anyhow::Result<Outcome> {
    let verb = if still { "pause" } else { "resume" };
    let status = match &global.server {
        Some(url) => ask(global, url, "POST", &format!("/v1/projections/{name}/{verb}"), None).await?,
        None => {
            at_rest(config, async |node| {
                let projections = node.projections();
                if still {
                    projections.pause(name).await?
                } else {
                    projections.resume(name).await?
                }
                Ok(serde_json::to_value(projections.status_of(name)?)?)
            })
            .await?
        }
    };
    if global.format == Format::Json {
        return print_json(&status);
    }
    print_line(format_args!("{name}: {}", status["state"].as_str().unwrap_or("unknown")))?;
    Ok(Outcome::Done)
}

async fn dead_letters(global: &Global, config: &Config, command: DeadLetters) -> anyhow::Result<Outcome> {
    let value = match (&global.server, command) {
        (Some(url), DeadLetters::List { name }) => {
            ask(global, url, "GET", &format!("/v1/projections/{name}/dead-letters"), None).await?
        }
        (Some(url), DeadLetters::Retry { name }) => {
            ask(global, url, "POST", &format!("/v1/projections/{name}/dead-letters/retry"), None).await?
        }
        (Some(url), DeadLetters::Discard { name, position, reason }) => {
            let body = json!({"position": position, "reason": reason});
            ask(global, url, "POST", &format!("/v1/projections/{name}/dead-letters/discard"), Some(&body))
                .await?
        }
        (None, DeadLetters::List { name }) => {
            at_rest(config, async |node| {
                let letters = node.projections().live(&name)?.handle.dead_letters().await?;
                Ok(json!({"dead_letters": letters}))
            })
            .await?
        }
        (None, DeadLetters::Retry { name }) => {
            at_rest(config, async |node| {
                Ok(json!(node.projections().live(&name)?.handle.retry_dead_letters(None).await?))
            })
            .await?
        }
        (None, DeadLetters::Discard { name, position, reason }) => {
            at_rest(config, async |node| {
                Ok(json!(operations::discard_dead_letter(node.projections(), &name, position, reason).await?))
            })
            .await?
        }
    };
    print_json(&value)
}
