//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere; always on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a piece of work is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    began: Instant,
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
        Self { bar, what: what.to_owned(), began: Instant::now(), last_line: Instant::now() }
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

    /// So many rows are done; `share` of the file is read, from 0 to 1, where that is known.
    pub(super) fn rows(&mut self, rows: u64, share: Option<f64>) {
        if let (Some(share), Some(_)) = (share.filter(|share| *share > 0.0), &self.bar) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            let total = (rows as f64 / share) as u64;
            return self.update(rows, total.max(rows));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(rows);
                bar.set_position(rows);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                let rate = self.rate(rows);
                match share.filter(|share| *share > 0.0) {
                    Some(share) => {
                        let left = self.began.elapsed().mul_f64(((1.0 - share) / share).max(0.0));
                        let (percent, left) = (share * 100.0, left.as_secs());
                        eprintln!(
                            "{}: {rows} rows, {percent:.1} %, {rate:.0} rows/s, {left} s left",
                            self.what
                        );
                    }
                    None => eprintln!("{}: {rows} rows, {rate:.0} rows/s", self.what),
                }
            }
            None => {}
        }
    }

    #[expect(clippy::cast_precision_loss)]
    fn rate(&self, rows: u64) -> f64 {
        rows as f64 / self.began.elapsed().as_secs_f64().max(0.001)
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
