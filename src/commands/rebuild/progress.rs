//! How far it is: a bar on a terminal, and a line now and then where there is none.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use projections::LogPosition;
use tokio::time::Instant;

use crate::rebuild;

/// How often the terminal is drawn at most.
const DRAWN_PER_SECOND: u8 = 4;
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far it is.
pub(in crate::commands) struct Progress {
    bar: ProgressBar,
    is_drawn: bool,
    began: Instant,
    /// Facts folded since.
    facts: u64,
    last_line: Instant,
    /// Where the first facts were folded, to tell how much is left.
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

    /// Shows what is new.
    pub(in crate::commands) fn tell(&mut self, progress: rebuild::Progress) {
        match progress {
            rebuild::Progress::Started(projection) => self.line(&format!("{}: begun", projection.name())),
            rebuild::Progress::Resumed(projection) => {
                self.line(&format!("{}: goes on where it was left", projection.name()));
            }
            rebuild::Progress::Folded { facts, reached, target } => self.folded(facts, reached, target),
            rebuild::Progress::Indexing(projection) => {
                self.line(&format!("{}: building indexes", projection.name()))
            }
            rebuild::Progress::Swapping(projection) => {
                self.line(&format!("{}: taking its place", projection.name()))
            }
            rebuild::Progress::Swapped(projection) => self.line(&format!("{}: serves", projection.name())),
            rebuild::Progress::Comparing(projection) => {
                self.line(&format!("{}: comparing", projection.name()))
            }
        }
    }

    fn folded(&mut self, facts: usize, reached: LogPosition, target: LogPosition) {
        self.facts += facts as u64;
        // Positions count facts, but for those of writers that failed.
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
            // Whoever started this may have stopped reading; the work goes on.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Takes the bar away, and says how fast it went.
    pub(in crate::commands) fn finish(mut self) {
        self.bar.finish_and_clear();
        self.is_drawn = false;
        let took = self.began.elapsed();
        let rate = self.facts as f64 / took.as_secs_f64().max(f64::EPSILON);
        let took = humantime::format_duration(Duration::from_millis(took.as_millis() as u64));
        self.line(&format!("{} facts in {took}, {rate:.0} facts/s", self.facts));
    }
}
