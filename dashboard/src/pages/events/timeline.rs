//! The attempts of an event as bars on a time axis, drawn as SVG. The table below it has the same content.

use chrono::{DateTime, Utc};

use crate::api::events::{Attempt, Event};
use crate::text::times::{Moment, duration};
use crate::words::{Tone, outcome};

/// Width of the drawing, which is scaled to the page.
const WIDTH: f64 = 1_000.0;
/// Smallest width of a bar, so that it can be seen.
const BAR_WIDTH_MIN: f64 = 4.0;

/// Drawing of an event's attempts.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) start: Moment,
    pub(super) end: Moment,
    /// Length of the axis in words.
    pub(super) length: String,
    pub(super) bars: Vec<Bar>,
    /// Place of the next attempt.
    pub(super) next: Option<String>,
}

/// Bar of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) attempt: u32,
    pub(super) x: String,
    pub(super) width: String,
    pub(super) tone: &'static str,
    pub(super) label: &'static str,
}

impl Timeline {
    /// Draws the attempts; `None`: there are none.
    pub(super) fn of(event: &Event, attempts: &[Attempt], now: DateTime<Utc>) -> Option<Self> {
        let last = attempts.last()?;
        let first = attempts.first()?;
        let start = event.accepted_at.min(first.started_at);
        let ended = last.finished_at.unwrap_or(now);
        let end = event.next_attempt_at.map_or(ended, |at| at.max(ended));
        let span = (end - start).num_milliseconds().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a pixel is enough")]
        let place = |at: DateTime<Utc>| (at - start).num_milliseconds() as f64 / span as f64 * WIDTH;
        let bar = |attempt: &Attempt| {
            let x = place(attempt.started_at);
            let width = (place(attempt.finished_at.unwrap_or(now)) - x).max(BAR_WIDTH_MIN);
            let words = attempt.outcome.as_deref().and_then(outcome);
            let tone = match words {
                None => Tone::Progress,
                Some(words) if words.is_success => Tone::Good,
                Some(_) => Tone::Bad,
            };
            Bar {
                attempt: attempt.attempt,
                x: format!("{:.1}", x.min(WIDTH - width)),
                width: format!("{width:.1}"),
                tone: tone.name(),
                label: words.map_or("In progress", |words| words.label),
            }
        };
        Some(Self {
            start: Moment::of(start, now),
            end: Moment::of(end, now),
            length: duration(end - start),
            bars: attempts.iter().map(bar).collect(),
            next: event.next_attempt_at.map(|at| format!("{:.1}", place(at).clamp(1.0, WIDTH - 1.0))),
        })
    }
}
