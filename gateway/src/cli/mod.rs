//! Arguments in, results and exit status out. Exit status: 0 done, 1 failed, 2 usage, 3 drift or verification failure.

mod args;
mod bulk;
mod import;
mod kurrent;
mod lifecycle;
mod load;
mod log;
mod operate;
mod part;
mod price;
mod progress;
mod remote;
mod serve;
mod simulate;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use daybook_projections::generations::GenerationError;
use daybook_replay::digest::DigestError;
use daybook_replay::drift::DriftError;
use daybook_replay::reconcile::ReconcileError;
use daybook_replay::time_travel::StateError;
use serde::Serialize;

use crate::config::{Config, Flags};
use crate::usage::{Usage, mistake};
use args::{Cli, Command, Format, Global};

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// An invariant does not hold: a simulation's, for instance.
    Failed,
    /// Drift, or a verification failure.
    Found,
}

/// Parses the arguments, runs the command, prints what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logging(cli.global.format);
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Blocking work that nobody waits for any more must not hold the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Found) => ExitCode::from(3),
        Err(error) => {
            eprintln!("daybook: {error:#}");
            if is_mistake(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether the caller has to put something right: what was asked for by name is nothing that there can be.
fn is_mistake(error: &anyhow::Error) -> bool {
    let unknown = |error: &GenerationError| matches!(error, GenerationError::Unknown(_));
    if let Some(error) = error.downcast_ref::<ReconcileError>() {
        return matches!(error, ReconcileError::Generation(error) if unknown(error));
    }
    if let Some(error) = error.downcast_ref::<DigestError>() {
        return matches!(error, DigestError::Generation(error) if unknown(error));
    }
    if let Some(error) = error.downcast_ref::<DriftError>() {
        return match error {
            DriftError::Share(_) => true,
            DriftError::Generation(error) => unknown(error),
            _ => false,
        };
    }
    if let Some(error) = error.downcast_ref::<StateError>() {
        return matches!(error, StateError::UnknownAggregate(_) | StateError::Id(_));
    }
    Usage::is(error) || error.downcast_ref().is_some_and(unknown)
}

async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    if global.server.is_some() && command.is_local() {
        mistake!("this command works without a server; leave --server out");
    }
    match command {
        Command::Serve(args) => serve::serve(load_server(&global, &args)?).await,
        Command::Demo(args) => serve::demo(load_server(&global, &args)?).await,
        Command::Import(import) => import::run(&global, load(&global)?, import).await,
        Command::Export(export) => bulk::export(&global, load(&global)?, export).await,
        Command::Generate(generate) => bulk::generate(generate),
        Command::Log(log) => log::run(&global, load(&global)?, log).await,
        Command::Price(price) => price::run(&global, load(&global)?, price).await,
        Command::State(state) => log::state(&global, load(&global)?, state).await,
        Command::Projections(command) => operate::projections(&global, load(&global)?, command).await,
        Command::Reconcile(reconcile) => operate::reconcile(&global, load(&global)?, reconcile).await,
        Command::Verify => operate::verify(&global, load(&global)?).await,
        Command::Simulate(simulate) => simulate::run(&global, load(&global)?, simulate).await,
        Command::Lifecycle { aggregate, mermaid } => lifecycle::run(&global, aggregate.as_deref(), mermaid),
        Command::Load(load) => load::run(&global, load).await,
        Command::Config => config(&global),
    }
}

fn load(global: &Global) -> anyhow::Result<Config> {
    Config::load(&flags(global)).map_err(Usage::of)
}

fn load_server(global: &Global, args: &args::Serve) -> anyhow::Result<Config> {
    let (listen, kurrent_listen) = (args.listen, args.kurrent_listen);
    let config = Config::load(&Flags { listen, kurrent_listen, ..flags(global) });
    config.and_then(|config| config.check_exposure().map(|()| config)).map_err(Usage::of)
}

fn flags(global: &Global) -> Flags {
    Flags { data: global.data.clone(), config: global.config.clone(), ..Flags::default() }
}

/// `daybook config`.
fn config(global: &Global) -> anyhow::Result<Outcome> {
    let config = load(global)?;
    if global.format == Format::Json {
        return print_json(&BTreeMap::from([("settings", &config.provenance)]));
    }
    for setting in &config.provenance {
        print_line(format_args!("{} = {}    ({})", setting.setting, setting.value, setting.source))?;
    }
    Ok(Outcome::Done)
}

fn print_json(value: &impl Serialize) -> anyhow::Result<Outcome> {
    print_line(format_args!("{}", serde_json::to_string(value)?))?;
    Ok(Outcome::Done)
}

/// Prints a line; a reader that went away ends the program without a panic.
fn print_line(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("standard output could not be written")
}

/// Logs go to standard error; `DAYBOOK_LOG` selects, like `info,daybook_projections=debug`.
fn init_logging(format: Format) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DAYBOOK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,daybook=info,tantivy=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format == Format::Json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}

/// Ten thousand connections need as many open files: takes what the system allows.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
