//! Charts over time, drawn as SVG. Each has a table with the same numbers.

use chrono::{DateTime, Utc};

use crate::api::stats::Point;
use crate::text::times::{grouped, milliseconds};

/// Size of the drawing, which is scaled to the page.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 140.0;
/// Part of a point's width that its bar takes.
const BAR: f64 = 0.72;

/// Chart of two series over time.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Largest value of the axis.
    pub(crate) top: String,
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) bars: Vec<Bar>,
    pub(crate) lines: Vec<Line>,
    pub(crate) rows: Vec<[String; 3]>,
    /// Whether there is nothing to draw.
    pub(crate) is_empty: bool,
}

/// Part of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
    pub(crate) class: &'static str,
    pub(crate) title: String,
}

/// Line of a series, as an SVG path. It has gaps where there are no values.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) path: String,
    pub(crate) class: &'static str,
}

impl Chart {
    /// Draws deliveries, with failed attempts on top of them.
    pub(crate) fn of_deliveries(points: &[Point], interval: &str) -> Self {
        let largest = points.iter().map(|point| point.counts.succeeded + point.counts.failed_attempts).max();
        let top = rounded_up(largest.unwrap_or_default().max(4));
        let step = step(points);
        let mut bars = vec![];
        for (at, point) in points.iter().enumerate() {
            let (good, bad) = (point.counts.succeeded, point.counts.failed_attempts);
            let title = format!(
                "{}: {} delivered, {} failed attempts",
                label(point.starts_at, interval),
                grouped(good),
                grouped(bad)
            );
            let mut base = HEIGHT;
            for (value, class) in [(good, "success"), (bad, "failure")] {
                if value == 0 {
                    continue;
                }
                let height = (scaled(value, top)).max(1.5);
                base -= height;
                bars.push(Bar {
                    x: format!("{:.1}", number(at) * step + step * (1.0 - BAR) / 2.0),
                    y: format!("{:.1}", base.max(0.0)),
                    width: format!("{:.1}", step * BAR),
                    height: format!("{height:.1}"),
                    class,
                    title: title.clone(),
                });
            }
        }
        let rows = points.iter().map(|point| {
            let counts = &point.counts;
            [label(point.starts_at, interval), grouped(counts.succeeded), grouped(counts.failed_attempts)]
        });
        let is_empty = bars.is_empty();
        Self::new(points, interval, grouped(top), bars, vec![], rows.collect(), is_empty)
    }

    /// Draws the median and the 95th percentile of the time to deliver.
    pub(crate) fn of_latency(points: &[Point], interval: &str) -> Self {
        let p50 = |point: &Point| point.counts.p50_time_to_deliver_ms;
        let p95 = |point: &Point| point.counts.p95_time_to_deliver_ms;
        let largest = points.iter().filter_map(p95).max();
        let top = rounded_up(largest.unwrap_or_default().max(10));
        let lines = vec![
            Line { path: path(points, top, p95), class: "p95" },
            Line { path: path(points, top, p50), class: "p50" },
        ];
        let text = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), milliseconds);
        let rows = points
            .iter()
            .map(|point| [label(point.starts_at, interval), text(p50(point)), text(p95(point))])
            .collect();
        Self::new(points, interval, milliseconds(top), vec![], lines, rows, largest.is_none())
    }

    fn new(
        points: &[Point],
        interval: &str,
        top: String,
        bars: Vec<Bar>,
        lines: Vec<Line>,
        rows: Vec<[String; 3]>,
        is_empty: bool,
    ) -> Self {
        let start = points.first().map(|point| label(point.starts_at, interval)).unwrap_or_default();
        let end = points.last().map(|point| label(point.starts_at, interval)).unwrap_or_default();
        Self { top, start, end, bars, lines, rows, is_empty }
    }
}

/// Returns the path of a series. A value without neighbours is a dot, drawn as a line without length.
fn path(points: &[Point], top: u64, value: impl Fn(&Point) -> Option<u64>) -> String {
    let step = step(points);
    let mut path = String::new();
    let mut is_first = true;
    for (at, point) in points.iter().enumerate() {
        let Some(value) = value(point) else {
            is_first = true;
            continue;
        };
        let (x, y) = (number(at) * step + step / 2.0, HEIGHT - scaled(value, top));
        path += &format!("{}{x:.1} {y:.1}", if is_first { "M" } else { "L" });
        if is_first {
            path += "h0";
        }
        is_first = false;
    }
    path
}

fn step(points: &[Point]) -> f64 {
    WIDTH / number(points.len().max(1))
}

fn scaled(value: u64, top: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pixel is enough")]
    let part = value as f64 / top as f64;
    part.min(1.0) * HEIGHT
}

#[expect(clippy::cast_precision_loss, reason = "there are few points")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Returns the next of 1, 2, 5, 10, 20, 50 and so on.
fn rounded_up(value: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            if let Some(top) = unit.checked_mul(factor).filter(|top| *top >= value) {
                return top;
            }
        }
        match unit.checked_mul(10) {
            Some(next) => unit = next,
            None => return u64::MAX,
        }
    }
}

fn label(time: DateTime<Utc>, interval: &str) -> String {
    time.format(if interval == "day" { "%b %-d" } else { "%b %-d, %H:%M" }).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn point(succeeded: u64, failed: u64, p95: Option<u64>) -> Point {
        serde_json::from_value(json!({
            "startsAt": "2026-03-14T06:00:00.000Z", "accepted": 0, "succeeded": succeeded, "failedAttempts": failed,
            "criticalFailures": 0, "p50TimeToDeliverMs": p95, "p95TimeToDeliverMs": p95,
        }))
        .unwrap()
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, top) in [(1, 1), (3, 5), (10, 10), (11, 20), (4_990, 5_000), (u64::MAX, u64::MAX)] {
            assert_eq!(rounded_up(value), top);
        }
    }

    #[test]
    fn bars_stay_within_the_drawing() {
        let chart =
            Chart::of_deliveries(&[point(0, 0, None), point(5, 3, None), point(100, 0, None)], "hour");
        assert_eq!(chart.bars.len(), 3);
        for bar in &chart.bars {
            let (y, height): (f64, f64) = (bar.y.parse().unwrap(), bar.height.parse().unwrap());
            assert!(y >= 0.0 && y + height <= HEIGHT + 0.1, "{bar:?}");
        }
        assert_eq!(chart.rows[1], ["Mar 14, 06:00", "5", "3"]);
        assert!(Chart::of_deliveries(&[point(0, 0, None)], "day").is_empty);
    }

    #[test]
    fn a_line_has_gaps_where_there_are_no_values() {
        let points = [point(1, 0, Some(10)), point(0, 0, None), point(1, 0, Some(10)), point(1, 0, Some(5))];
        let chart = Chart::of_latency(&points, "hour");
        assert_eq!(chart.lines[0].path, "M75.0 0.0h0M375.0 0.0h0L525.0 70.0");
    }
}
