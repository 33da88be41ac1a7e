//! Deliveries of the last hours, small enough for a row of a list. The page of a destination has the chart with its
//! table.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::api::stats::HourlyCounts;
use crate::text::times::grouped;

/// Hours that are drawn, the current one included.
pub(super) const HOURS: i64 = 24;
/// Size of the drawing. An hour has this width, of which its bar leaves a part free.
const HOUR_WIDTH: i64 = 5;
const BAR_WIDTH: i64 = 4;
const HEIGHT: u64 = 24;

/// Bars of deliveries, with failed attempts on top of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparkline {
    pub(super) bars: Vec<Bar>,
    /// The sums, in words.
    pub(super) sums: String,
}

/// Part of the bar of an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: i64,
    pub(super) y: u64,
    pub(super) height: u64,
    pub(super) class: &'static str,
}

impl Sparkline {
    /// Draws the hours that have counts. The largest one is as high as the drawing.
    pub(super) fn of(hours: &[HourlyCounts], now: DateTime<Utc>) -> Self {
        let top = hours.iter().map(|hour| hour.succeeded + hour.failed_attempts).max().unwrap_or_default();
        let mut bars = vec![];
        for hour in hours {
            let at = (hour.starts_at - start(now)).num_hours();
            let total = hour.succeeded + hour.failed_attempts;
            if total == 0 || !(0..HOURS).contains(&at) {
                continue;
            }
            let all = scaled(total, top);
            // A failure among many deliveries is seen all the same.
            let failed = scaled(hour.failed_attempts, top).min(all);
            let x = at * HOUR_WIDTH;
            for (y, height, class) in
                [(HEIGHT - all + failed, all - failed, "success"), (HEIGHT - all, failed, "failure")]
            {
                if height > 0 {
                    bars.push(Bar { x, y, height, class });
                }
            }
        }
        let sum = |of: fn(&HourlyCounts) -> u64| hours.iter().map(of).sum::<u64>();
        Self { bars, sums: in_words(sum(|hour| hour.succeeded), sum(|hour| hour.failed_attempts)) }
    }

    pub(super) fn width(&self) -> i64 {
        HOURS * HOUR_WIDTH
    }

    pub(super) fn bar_width(&self) -> i64 {
        BAR_WIDTH
    }
}

/// Returns the start of the first hour that is drawn.
pub(super) fn start(now: DateTime<Utc>) -> DateTime<Utc> {
    let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    hour - TimeDelta::hours(HOURS - 1)
}

/// Returns a height of at least 2 for what is not nothing.
fn scaled(count: u64, top: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let height = u128::from(count) * u128::from(HEIGHT) / u128::from(top.max(1));
    u64::try_from(height).unwrap_or(HEIGHT).clamp(2, HEIGHT)
}

fn in_words(succeeded: u64, failed: u64) -> String {
    match (succeeded, failed) {
        (0, 0) => "no deliveries".to_owned(),
        (_, 0) => format!("{} delivered", grouped(succeeded)),
        (_, _) => format!("{} delivered, {} failed", grouped(succeeded), grouped(failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str, succeeded: u64, failed_attempts: u64) -> HourlyCounts {
        HourlyCounts { starts_at: text.parse().unwrap(), succeeded, failed_attempts }
    }

    #[test]
    fn bars_are_in_their_hours_and_within_the_drawing() {
        let now = "2026-07-03T14:32:07Z".parse().unwrap();
        assert_eq!(start(now), "2026-07-02T15:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let hours = [
            hour("2026-07-02T14:00:00Z", 9, 9),
            hour("2026-07-02T15:00:00Z", 3, 0),
            hour("2026-07-03T13:00:00Z", 0, 4_000),
            hour("2026-07-03T14:00:00Z", u64::MAX / 4, 1),
        ];
        let drawn = Sparkline::of(&hours[1..3], now);
        let bar = |x, y, height, class| Bar { x, y, height, class };
        assert_eq!(drawn.bars, [bar(0, 22, 2, "success"), bar(110, 0, 24, "failure")]);
        assert_eq!(drawn.sums, "3 delivered, 4\u{202f}000 failed");
        let drawn = Sparkline::of(&hours, now);
        assert!(drawn.bars.iter().all(|bar| bar.y + bar.height <= HEIGHT && bar.x >= 0), "{drawn:?}");
        assert_eq!(drawn.bars.last().unwrap(), &bar(115, 0, 2, "failure"), "one failure is seen");
        assert_eq!(Sparkline::of(&[], now), Sparkline { bars: vec![], sums: "no deliveries".to_owned() });
    }
}
