//! `import`.

use std::fs::File;

use anyhow::Context;
use daybook_commands::Principal;
use daybook_replay::import::online_retail;

use super::args::{Format, Global, Import};
use super::progress::Progress;
use super::{Outcome, bulk, print_json, print_line};
use crate::config::Config;
use crate::node::Node;
use crate::usage::{cannot_open, mistake};

/// Most memory for aggregate states while importing, MiB: what an import has decided on is seldom needed again.
const STATE_CACHE_MIB: usize = 128;

pub(super) async fn run(global: &Global, mut config: Config, import: Import) -> anyhow::Result<Outcome> {
    config.memory.state_cache_mib = config.memory.state_cache_mib.min(STATE_CACHE_MIB);
    if global.server.is_some() {
        mistake!(
            "imports work on a data folder at rest: stop the server and run this with --data DIR instead of --server; to a running \
             server send commands as NDJSON, POST /v1/commands"
        );
    }
    match import {
        Import::Variants { file, errors, dry_run } => {
            bulk::import(global, &config, &file, errors, dry_run).await
        }
        Import::OnlineRetail { file } => {
            let input = File::open(&file).map_err(|error| cannot_open(&file, error))?;
            let node = Node::open(&config).await?;
            let mut progress = Progress::new("Importing", "rows");
            let report = online_retail::import(
                input,
                node.dispatcher(),
                node.log(),
                &Principal::system(),
                online_retail::Options::default(),
                |done, total| progress.update(done, total),
            )
            .await;
            progress.finish();
            let report = match report {
                Ok(report) => report,
                Err(error) => {
                    node.close().await;
                    return Err(error).with_context(|| {
                        format!("{} was not imported to its end; start again to go on", file.display())
                    });
                }
            };
            let mut progress = Progress::new("Projecting", "events");
            node.wait_until_current(|done, total| progress.update(done, total)).await?;
            progress.finish();
            node.close().await;
            print_report(global, &report)
        }
    }
}

fn print_report(global: &Global, report: &online_retail::Report) -> anyhow::Result<Outcome> {
    if global.format == Format::Json {
        return print_json(report);
    }
    print_line(format_args!("{} rows, net {} GBP", report.rows, report.net))?;
    for class in &report.classes {
        print_line(format_args!("  {:<20} {:>8} rows  {:>16} GBP", class.class, class.rows, class.amount))?;
    }
    print_line(format_args!(
        "{} orders ({} of guests), {} variants, {} customers",
        report.orders, report.guest_orders, report.variants, report.customers
    ))?;
    print_line(format_args!(
        "{} refunds of orders, {} credits without order",
        report.refunds, report.credits_without_order
    ))?;
    print_line(format_args!("{} units of opening stock", report.opening_units))?;
    print_line(format_args!("no goods, so nothing taken from stock:"))?;
    for code in &report.not_goods {
        print_line(format_args!("  {:<14} {}", code.variant_id, code.reason))?;
    }
    print_line(format_args!(
        "{} commands, {} of them carried out by an earlier run",
        report.commands, report.replayed
    ))?;
    Ok(Outcome::Done)
}
