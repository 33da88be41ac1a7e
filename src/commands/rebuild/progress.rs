//! Progress of a rebuild: a bar on a terminal, and otherwise a line every few seconds.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use projections::LogPosition;
use tokio::time::Instant;

use crate::rebuild;

/// Maximum updates of the bar per second.
const DRAWN_PER_SECOND: u8 = 4;
/// Interval between lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Output of progress on standard error.
pub(in crate::commands) struct Progress {
    bar: ProgressBar,
    is_drawn: bool,
    began: Instant,
    /// Facts folded so far.
    facts: u64,
    last_line: Instant,
    /// Position before the first fact, to compute how many are left.
    first: Option<LogPosition>,
}

impl Progress {
    pub(in crate::commands) fn new() -> Self {
        let is_drawn = io::stderr().is_terminal();
        let target = match is_drawn {
            true => ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let bar = match ProgressStyle::with_template("[{bar:30}] {percent:>3}% {msg}") {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        };
        let now = Instant::now();
        Self { bar, is_drawn, began: now, facts: 0, last_line: now, first: None }
    }

    /// Prints an update.
    pub(in crate::commands) fn show(&mut self, update: rebuild::Progress) {
        match update {
            rebuild::Progress::Started(projection) => self.line(&format!("{}: started", projection.name())),
            rebuild::Progress::Resumed(projection) => {
                self.line(&format!("{}: resumed", projection.name()));
            }
            rebuild::Progress::Folded { facts, reached, target } => self.folded(facts, reached, target),
            rebuild::Progress::Indexing(projection) => {
                self.line(&format!("{}: building indexes", projection.name()))
            }
            rebuild::Progress::Swapping(projection) => {
                self.line(&format!("{}: replacing the live tables", projection.name()))
            }
            rebuild::Progress::Swapped(projection) => self.line(&format!("{}: replaced", projection.name())),
            rebuild::Progress::Comparing(projection) => {
                self.line(&format!("{}: comparing", projection.name()))
            }
        }
    }

    fn folded(&mut self, facts: usize, reached: LogPosition, target: LogPosition) {
        self.facts += facts as u64;
        // Positions count facts, and have gaps where a transaction failed.
        let first =
            *self.first.get_or_insert(LogPosition { position: reached.position - facts as i64, ..reached });
        let count = |to: LogPosition| u64::try_from(to.position - first.position).unwrap_or_default();
        let (done, of) = (count(reached), count(target).max(count(reached)));
        self.bar.set_length(of);
        self.bar.set_position(done);
        let rate = self.facts as f64 / self.began.elapsed().as_secs_f64().max(f64::EPSILON);
        let left = Duration::from_secs((of.saturating_sub(done) as f64 / rate.max(1.0)).ceil() as u64);
        let message =
            format!("{} facts, {rate:.0} facts/s, {} left", self.facts, humantime::format_duration(left));
        if !self.is_drawn && self.last_line.elapsed() >= LINE_EVERY {
            self.line(&format!("{}% of the log, {message}", (done * 100).checked_div(of).unwrap_or(100)));
        }
        self.bar.set_message(message);
    }

    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        if self.is_drawn {
            self.bar.println(text);
        } else {
            // Continue even if standard error is closed.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Removes the bar and prints the number of facts and the rate.
    pub(in crate::commands) fn finish(mut self) {
        self.bar.finish_and_clear();
        self.is_drawn = false;
        let took = self.began.elapsed();
        let rate = self.facts as f64 / took.as_secs_f64().max(f64::EPSILON);
        let took = humantime::format_duration(Duration::from_millis(took.as_millis() as u64));
        self.line(&format!("{} facts in {took}, {rate:.0} facts/s", self.facts));
    }
}
