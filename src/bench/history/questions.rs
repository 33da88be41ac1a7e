//! What is asked: every kind of list, with other values each time.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::RngExt;
use rand::rngs::StdRng;
use uuid::Uuid;

/// Items of a page, as the dashboard asks for them.
pub(super) const PAGE_ITEMS: u64 = 20;

const STATUSES: [&str; 5] = ["Succeeded", "CriticalFailure", "WaitingRetry", "Pending", "Cancelled"];
const SORTS: [&str; 10] = [
    "id",
    "tenantId",
    "destinationUrlId",
    "payload",
    "status",
    "idempotencyKey",
    "currentRetryCount",
    "nextAttemptAt",
    "acceptedAt",
    "deliveredAt",
];

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    First,
    /// Somewhere among all that match, in steps of a hundredth.
    Anywhere,
    /// The first few pages by cursor.
    Cursor,
}

/// A kind of question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    status: Option<&'static str>,
    destination: bool,
    from: bool,
    to: bool,
    sort: &'static str,
    ascending: bool,
    depth: Depth,
    statistics: Option<&'static str>,
}

/// What the questions are about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) destinations: Vec<Uuid>,
    pub(super) days: u32,
    pub(super) now: DateTime<Utc>,
}

const PLAIN: Kind = Kind {
    status: None,
    destination: false,
    from: false,
    to: false,
    sort: "acceptedAt",
    ascending: false,
    depth: Depth::First,
    statistics: None,
};

/// Every kind.
pub(super) fn kinds() -> Vec<Kind> {
    let depths = [Depth::First, Depth::Anywhere, Depth::Cursor];
    let mut kinds = Vec::new();
    for depth in depths {
        for status in std::iter::once(None).chain(STATUSES.map(Some)) {
            for destination in [false, true] {
                for (from, to) in [(false, false), (true, false), (false, true), (true, true)] {
                    kinds.push(Kind { status, destination, from, to, depth, ..PLAIN });
                }
            }
        }
    }
    for depth in depths {
        for sort in SORTS {
            for ascending in [false, true] {
                kinds.push(Kind { sort, ascending, depth, ..PLAIN });
            }
        }
    }
    for interval in ["hour", "day"] {
        for destination in [false, true] {
            kinds.push(Kind { destination, statistics: Some(interval), ..PLAIN });
        }
    }
    kinds
}

impl Kind {
    /// Its name in the report.
    pub(super) fn name(&self) -> String {
        let mut name = String::new();
        if let Some(interval) = self.statistics {
            let _ = write!(name, "stats by {interval}");
        } else {
            let direction = if self.ascending { "Asc" } else { "Desc" };
            let depth = match self.depth {
                Depth::First => "first page",
                Depth::Anywhere => "deep page",
                Depth::Cursor => "next page by cursor",
            };
            let _ = write!(name, "{depth}, {} {direction}", self.sort);
        }
        for (filter, given) in [
            (self.status.unwrap_or_default(), self.status.is_some()),
            ("DestinationUrlId", self.destination),
            ("From", self.from),
            ("To", self.to),
        ] {
            if given {
                let _ = write!(name, " + {filter}");
            }
        }
        name
    }

    /// Whether pages deep in the list are asked for, so that its length has to be known.
    pub(super) fn is_deep(&self) -> bool {
        self.depth == Depth::Anywhere && self.statistics.is_none()
    }

    /// Whether a page is asked for by the cursor of the one before.
    pub(super) fn is_by_cursor(&self) -> bool {
        self.depth == Depth::Cursor && self.statistics.is_none()
    }

    /// A question of the kind: its path, without the page.
    pub(super) fn ask(&self, subject: &Subject, rng: &mut StdRng) -> String {
        if let Some(interval) = self.statistics {
            return self.ask_statistics(interval, subject, rng);
        }
        let direction = if self.ascending { "Asc" } else { "Desc" };
        let mut path = format!("/api/v1/events?Qt={PAGE_ITEMS}&CpOrd={}&TpOrd={direction}", self.sort);
        if let Some(status) = self.status {
            let _ = write!(path, "&Status={status}");
        }
        self.name_destination(&mut path, "DestinationUrlId", subject, rng);
        let days = i64::from(subject.days);
        let mut moment = |first: i64, last: i64| {
            let minutes = rng.random_range(first * 1_440..last * 1_440);
            let milliseconds = rng.random_range(0..60_000);
            let time = subject.now - TimeDelta::minutes(minutes) - TimeDelta::milliseconds(milliseconds);
            time.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        if self.from {
            let _ = write!(path, "&From={}", moment(days / 2, days));
        }
        if self.to {
            let _ = write!(path, "&To={}", moment(0, (days / 2).max(1)));
        }
        path
    }

    fn ask_statistics(&self, interval: &str, subject: &Subject, rng: &mut StdRng) -> String {
        let days = if interval == "hour" { 7 } else { i64::from(subject.days) };
        let from = subject.now - TimeDelta::days(days.min(i64::from(subject.days)));
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut path =
            format!("/api/v1/stats?Interval={interval}&From={}&To={}", time(from), time(subject.now));
        self.name_destination(&mut path, "DestinationId", subject, rng);
        path
    }

    fn name_destination(&self, path: &mut String, parameter: &str, subject: &Subject, rng: &mut StdRng) {
        if self.destination && !subject.destinations.is_empty() {
            let destination = subject.destinations[rng.random_range(0..subject.destinations.len())];
            let _ = write!(path, "&{parameter}={destination}");
        }
    }
}
