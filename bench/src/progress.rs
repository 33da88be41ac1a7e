//! Progress bar on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Upper bound of updates a second.
const DRAWN_PER_SECOND: u8 = 4;

/// Progress bar, which is removed when it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Undelivered events at the beginning of a drain; `None` for a load, whose progress is its time.
    waiting: Option<u64>,
}

impl Progress {
    /// Shows a load of this duration.
    pub(crate) fn of_load(name: &str, duration: Duration) -> Self {
        Self { bar: bar(name, duration.as_secs()), waiting: None }
    }

    /// Shows a drain of this many events.
    pub(crate) fn of_drain(name: &str, waiting: u64) -> Self {
        Self { bar: bar(name, waiting), waiting: Some(waiting) }
    }

    pub(crate) fn show(&self, accepted_per_second: f64, delivered_per_second: f64, undelivered: u64) {
        self.bar.set_position(match self.waiting {
            Some(waiting) => waiting.saturating_sub(undelivered),
            None => self.bar.elapsed().as_secs(),
        });
        self.bar.set_message(format!(
            "{accepted_per_second:.0} accepted/s, {delivered_per_second:.0} delivered/s, {undelivered} undelivered"
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(name: &str, length: u64) -> ProgressBar {
    // The bar hides itself if standard error is not a terminal.
    let target = ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND);
    let bar = ProgressBar::with_draw_target(Some(length), target).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix:24} [{bar:30}] {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
