//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere; always on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a piece of work is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    last_line: Instant,
}

const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// Starts showing; `unit` is what is counted, such as `rows`.
    #[must_use]
    pub(super) fn new(what: &str, unit: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                format!("{what} {{bar:32}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}} left");
            let style = ProgressStyle::with_template(&style).expect("a constant template");
            ProgressBar::new(0).with_style(style)
        });
        Self { bar, what: what.to_owned(), last_line: Instant::now() }
    }

    /// `done` of `total` are done.
    pub(super) fn update(&mut self, done: u64, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{}: {done} of {total}", self.what);
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
