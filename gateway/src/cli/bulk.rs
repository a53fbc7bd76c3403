//! Variants in bulk: `import variants`, `export variants`, `generate variants`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use daybook_commands::Principal;
use daybook_projections::catalogue;
use daybook_replay::import::variants::{self, Errors, Input, Options, Report};
use daybook_replay::operations;
use daybook_schemas::configuration::hex;
use flate2::write::GzEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::args::{Export, Format, Generate, Global};
use super::part::{Existing, PartFile};
use super::progress::Progress;
use super::remote::{ask, download};
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::node::Node;
use crate::usage::{cannot_open, mistake};

const BUFFER: usize = 1 << 18;

/// What an import came to, and how long it took.
#[derive(Serialize)]
struct Imported<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Until every row was durable.
    seconds: f64,
    /// Until every read model had it.
    seconds_projected: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors_file: Option<&'a Path>,
}

/// `import variants`.
pub(super) async fn import(
    global: &Global,
    config: &Config,
    file: &Path,
    errors: Option<PathBuf>,
    dry_run: bool,
) -> anyhow::Result<Outcome> {
    let standard_input = file.as_os_str() == OsStr::new("-");
    let errors_file = errors.unwrap_or_else(|| match standard_input {
        true => PathBuf::from("variants.errors.ndjson"),
        false => {
            let mut name = file.as_os_str().to_owned();
            name.push(".errors.ndjson");
            name.into()
        }
    });
    let bytes = match standard_input {
        true => None,
        false => Some(std::fs::metadata(file).map_err(|error| cannot_open(file, error))?.len()),
    };
    // It is emptied before the first row is read.
    if !standard_input && is_same_file(file, &errors_file) {
        mistake!("--errors names the file that is to be imported; name another one for the refused rows");
    }
    let node = Node::open(config).await?;
    let input = match input(config, file, standard_input, &node) {
        Ok(input) => input,
        Err(error) => {
            node.close().await;
            return Err(error);
        }
    };
    let began = Instant::now();
    let mut progress = Progress::new(if dry_run { "Checking" } else { "Importing" }, "rows");
    let options = Options { dry_run, ..Options::default() };
    let options = Options { in_flight: options.in_flight.min(config.limits.queued_commands), ..options };
    let mut errors = Errors::new(errors_file.clone());
    #[expect(clippy::cast_precision_loss)]
    let share = |read: u64| bytes.filter(|all| *all > 0).map(|all| (read as f64 / all as f64).min(1.0));
    let report =
        variants::import(input, node.dispatcher(), &Principal::system(), options, &mut errors, |advance| {
            progress.rows(advance.rows, share(advance.bytes));
        })
        .await;
    progress.finish();
    let result = settle(&node, report, dry_run, began).await;
    node.close().await;
    let (report, seconds, seconds_projected) = result
        .with_context(|| format!("{} was not imported to its end; start again to go on", file.display()))?;
    let errors_file = (report.refused > 0).then_some(errors_file.as_path());
    print(global, &Imported { report: &report, seconds, seconds_projected, errors_file })?;
    Ok(if report.refused == 0 { Outcome::Done } else { Outcome::Failed })
}

/// Puts the report on record and waits for the read models.
async fn settle(
    node: &Node,
    report: Result<Report, variants::ImportError>,
    dry_run: bool,
    began: Instant,
) -> anyhow::Result<(Report, f64, f64)> {
    let report = report?;
    let seconds = began.elapsed().as_secs_f64();
    if !dry_run {
        operations::record_import(node.log(), "variants", &report.rows_sha256, &report)
            .await
            .context("the report could not be stored")?;
        let mut progress = Progress::new("Projecting", "events");
        node.wait_until_current(|done, total| progress.update(done, total)).await?;
        progress.finish();
    }
    Ok((report, seconds, began.elapsed().as_secs_f64()))
}

/// Whether two names, links among them, are of one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn input(config: &Config, file: &Path, standard_input: bool, node: &Node) -> anyhow::Result<Input> {
    let log = Arc::clone(node.log());
    if standard_input {
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(io::stdin())) };
        return Ok(Input { open: Box::new(open), place: None, log });
    }
    let path = std::path::absolute(file).with_context(|| format!("the path of {}", file.display()))?;
    // One place a file: the name only has to differ between files, the place itself says whether it fits.
    let name = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..8]);
    let place = config.data.join("imports").join(format!("{name}.json"));
    let open = move || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(File::open(&path)?)) };
    Ok(Input { open: Box::new(open), place: Some(place), log })
}

fn print(global: &Global, imported: &Imported<'_>) -> anyhow::Result<()> {
    if global.format == Format::Json {
        print_json(imported)?;
        return Ok(());
    }
    let Imported { report, seconds, seconds_projected, errors_file } = imported;
    let done = if report.dry_run { "would be created" } else { "created" };
    print_line(format_args!(
        "{} rows: {} {done}, {} there already, {} refused",
        report.rows, report.created, report.unchanged, report.refused
    ))?;
    for (code, rows) in &report.codes {
        print_line(format_args!("  {code:<28} {rows:>10} rows"))?;
    }
    if let Some(file) = errors_file {
        print_line(format_args!("every reason is in {}", file.display()))?;
    }
    if report.resumed_after > 0 {
        print_line(format_args!("{} rows were done by an earlier run", report.resumed_after))?;
    }
    #[expect(clippy::cast_precision_loss)]
    let rate = |seconds: f64| (report.rows - report.resumed_after) as f64 / seconds.max(0.001);
    print_line(format_args!("{seconds:.1} s, {:.0} rows/s", rate(*seconds)))?;
    if !report.dry_run {
        let whole = rate(*seconds_projected);
        print_line(format_args!("{seconds_projected:.1} s with all read models, {whole:.0} rows/s"))?;
    }
    Ok(())
}

/// `export variants`.
pub(super) async fn export(global: &Global, config: Config, export: Export) -> anyhow::Result<Outcome> {
    let Export::Variants { out } = export;
    if let Some(url) = &global.server {
        // What was acknowledged before is in the copy.
        let head = ask(global, url, "GET", "/v1/operations/head", None).await?;
        let position = head["position"].as_str().context("the server's answer has no position")?;
        let mut output = Output::create(out.as_deref())?;
        let path = format!("/v1/operations/export/variants?min_position={position}");
        download(global, url, &path, &mut output).await?;
        output.finish().context("the rows could not be written")?;
        return Ok(Outcome::Done);
    }
    // A folder without data is a mistake here, not one to be made.
    let node = Node::open_existing(&config).await?;
    let written = async {
        let mut progress = Progress::new("Projecting", "events");
        node.wait_until_current(|done, total| progress.update(done, total)).await?;
        progress.finish();
        let live = node.projections().live(catalogue::NAME)?;
        anyhow::ensure!(
            !live.handle.is_held(),
            "the read model {0} is paused, so that not all would be exported; go on with `daybook projections resume {0}`",
            catalogue::NAME
        );
        let reader = live.queries.rows().context("the catalogue has no rows")?;
        let mut output = Output::create(out.as_deref())?;
        let mut progress = Progress::new("Exporting", "rows");
        let exported = variants::export::export(&*reader, &mut output, |rows| progress.rows(rows, None))?;
        progress.finish();
        output.finish().context("the rows could not be written")?;
        anyhow::Ok(exported)
    }
    .await;
    node.close().await;
    let exported = written?;
    eprintln!("{} variants, {} archived ones left out", exported.rows, exported.archived);
    Ok(Outcome::Done)
}

/// `generate variants`.
pub(super) fn generate(generate: Generate) -> anyhow::Result<Outcome> {
    let Generate::Variants { count, seed, out } = generate;
    let mut output = Output::create(out.as_deref())?;
    let mut progress = Progress::new("Generating", "rows");
    variants::generate::generate(count, seed, &mut output, |rows| progress.update(rows, count))
        .map_err(anyhow::Error::new)
        .and_then(|()| output.finish())
        .context("the rows could not be written")?;
    progress.finish();
    Ok(Outcome::Done)
}

/// A file, compressed as its name says, or standard output.
enum Output {
    Plain(BufWriter<Sink>),
    Gzip(GzEncoder<Sink>),
    Zstd(zstd::Encoder<'static, Sink>),
}

/// Where the bytes go.
enum Sink {
    /// A file that has its name only once it is whole.
    Part(PartFile),
    /// What can't be replaced: standard output, a device, a pipe.
    Stream(BufWriter<Box<dyn Write + Send>>),
}

impl Output {
    fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != OsStr::new("-")) else {
            let out = BufWriter::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
            return Ok(Self::Plain(BufWriter::with_capacity(BUFFER, Sink::Stream(out))));
        };
        let sink = match std::fs::metadata(path) {
            Ok(there) if !there.is_file() => {
                let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Sink::Stream(BufWriter::with_capacity(BUFFER, Box::new(file)))
            }
            // Of a link, what it leads to is replaced.
            Ok(_) => Sink::Part(PartFile::create(&std::fs::canonicalize(path)?, Existing::Replaced)?),
            Err(_) => Sink::Part(PartFile::create(path, Existing::Replaced)?),
        };
        Ok(match path.extension().and_then(OsStr::to_str) {
            Some("gz") => Self::Gzip(GzEncoder::new(sink, flate2::Compression::fast())),
            Some("zst") => Self::Zstd(zstd::Encoder::new(sink, 1).context("a zstd encoder")?),
            _ => Self::Plain(BufWriter::new(sink)),
        })
    }

    /// Without this, the end of what was written can be missing, and a file has no name.
    fn finish(self) -> anyhow::Result<()> {
        let sink = match self {
            Self::Plain(out) => out.into_inner().map_err(io::IntoInnerError::into_error)?,
            Self::Gzip(out) => out.finish()?,
            Self::Zstd(out) => out.finish()?,
        };
        match sink {
            Sink::Part(file) => file.finish(),
            Sink::Stream(mut out) => Ok(out.flush()?),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Part(out) => out.write(bytes),
            Self::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Part(out) => out.flush(),
            Self::Stream(out) => out.flush(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
