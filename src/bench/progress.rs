//! A bar on standard error while something is waited for. There is none where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the terminal is drawn at most.
const DRAWN_PER_SECOND: u8 = 4;

/// A bar. It goes away with the value.
pub(super) struct Progress {
    bar: ProgressBar,
    /// How many wait at the begin of a drain; a load is measured by time instead.
    waiting: Option<u64>,
}

impl Progress {
    /// For a load that lasts so long.
    pub(super) fn of_load(name: &str, lasts: Duration) -> Self {
        Self { bar: bar(name, lasts.as_secs()), waiting: None }
    }

    /// For a drain of so many events.
    pub(super) fn of_drain(name: &str, waiting: u64) -> Self {
        Self { bar: bar(name, waiting), waiting: Some(waiting) }
    }

    pub(super) fn show(&self, accepted_per_second: f64, delivered_per_second: f64, undelivered: u64) {
        self.bar.set_position(match self.waiting {
            Some(waiting) => waiting.saturating_sub(undelivered),
            None => self.bar.elapsed().as_secs(),
        });
        self.bar.set_message(format!(
            "{accepted_per_second:.0} accepted/s, {delivered_per_second:.0} delivered/s, {undelivered} on the way"
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(name: &str, length: u64) -> ProgressBar {
    // It hides by itself where standard error is no terminal.
    let target = ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND);
    let bar = ProgressBar::with_draw_target(Some(length), target).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix:24} [{bar:30}] {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
