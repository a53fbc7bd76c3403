//! Arguments in, results and exit status out. Exit status: 0 done, 1 failed, 2 usage, 3 drift or verification failure.

mod args;
mod bulk;
mod import;
mod kurrent;
mod lifecycle;
mod load;
mod log;
mod operate;
mod price;
mod progress;
mod remote;
mod serve;
mod simulate;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;

use crate::config::{Config, Flags};
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
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
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
    Config::load(&flags(global))
}

fn load_server(global: &Global, args: &args::Serve) -> anyhow::Result<Config> {
    let (listen, kurrent_listen) = (args.listen, args.kurrent_listen);
    Config::load(&Flags { listen, kurrent_listen, ..flags(global) })
}

fn flags(global: &Global) -> Flags {
    Flags { data: global.data.clone(), config: global.config.clone(), ..Flags::default() }
}

/// `daybook config`.
fn config(global: &Global) -> anyhow::Result<Outcome> {
    let config = load(global)?;
    if global.format == Format::Json {
        return print_json(&config.provenance);
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
