//! Kinds of requests: every kind of list and statistics, with other values in each request.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use projections::webhook_events::EventStatus;
use rand::RngExt;
use rand::rngs::StdRng;
use uuid::Uuid;

/// Items of a page, as the dashboard requests them.
pub(super) const PAGE_ITEMS: u64 = 20;

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

/// Page that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    First,
    /// A random page of the list.
    Anywhere,
    /// The second page, by the cursor of the first.
    Cursor,
}

/// Filter of a search in the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuditFilter {
    Administration,
    /// All facts, also those of single deliveries.
    All,
    /// By type, of all facts.
    Type(&'static str),
    /// By a random destination.
    Subject,
    /// By a random day, of all facts.
    Day,
}

/// What else events are found by. No counts are kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// Outcome of the last attempt: of a few events, or of none.
    Outcome(&'static str),
    /// HTTP status of the last attempt: of a few events, or of almost all.
    HttpStatus(u16),
    /// A text that is in one payload.
    Text,
    /// A value that one payload has.
    Value,
    /// How many of the newest events have which values.
    Facets,
}

/// Kind of request.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryKind {
    /// Filter by status; `None`: no filter.
    status: Option<&'static str>,
    /// Whether it filters by a random destination.
    destination: bool,
    /// Whether it filters by the earliest time of acceptance.
    from: bool,
    /// Whether it filters by the latest time of acceptance.
    to: bool,
    sort: &'static str,
    ascending: bool,
    depth: Depth,
    /// Interval of statistics; `None`: it requests a list.
    statistics: Option<&'static str>,
    /// Search in the audit trail; `None`: it requests events or their statistics.
    audit: Option<AuditFilter>,
    search: Option<Search>,
}

/// Data from which the values of requests are drawn.
#[derive(Clone, Debug)]
pub(super) struct QueryContext {
    pub(super) destinations: Vec<Uuid>,
    pub(super) days: u32,
    pub(super) now: DateTime<Utc>,
}

/// The first page of all events, newest first.
const PLAIN: QueryKind = QueryKind {
    status: None,
    destination: false,
    from: false,
    to: false,
    sort: "acceptedAt",
    ascending: false,
    depth: Depth::First,
    statistics: None,
    audit: None,
    search: None,
};

/// Returns the names of the statuses in which events stay, as opposed to those between two facts.
fn lasting_statuses() -> impl Iterator<Item = &'static str> {
    let lasting = |status: &EventStatus| !matches!(status, EventStatus::Processing | EventStatus::Failed);
    EventStatus::ALL.into_iter().filter(lasting).map(EventStatus::name)
}

/// Returns every kind.
pub(super) fn kinds() -> Vec<QueryKind> {
    let depths = [Depth::First, Depth::Anywhere, Depth::Cursor];
    let mut kinds = Vec::new();
    for depth in depths {
        for status in std::iter::once(None).chain(lasting_statuses().map(Some)) {
            for destination in [false, true] {
                for (from, to) in [(false, false), (true, false), (false, true), (true, true)] {
                    kinds.push(QueryKind { status, destination, from, to, depth, ..PLAIN });
                }
            }
        }
    }
    for depth in depths {
        for sort in SORTS {
            for ascending in [false, true] {
                kinds.push(QueryKind { sort, ascending, depth, ..PLAIN });
            }
        }
    }
    for interval in ["hour", "day"] {
        for destination in [false, true] {
            kinds.push(QueryKind { destination, statistics: Some(interval), ..PLAIN });
        }
    }
    let rare = [Search::Outcome("refused_status"), Search::Outcome("timeout"), Search::HttpStatus(503)];
    let others = [Search::HttpStatus(200), Search::Text, Search::Value, Search::Facets];
    for search in rare.into_iter().chain(others) {
        for destination in [false, true] {
            kinds.push(QueryKind { search: Some(search), destination, ..PLAIN });
        }
    }
    kinds.push(QueryKind { search: Some(Search::HttpStatus(503)), depth: Depth::Cursor, ..PLAIN });
    let types = ["DeliveryAttempted", "UserRegistered", "PayloadErased"].map(AuditFilter::Type);
    let others = [AuditFilter::Administration, AuditFilter::All, AuditFilter::Subject, AuditFilter::Day];
    for filter in others.into_iter().chain(types) {
        for depth in [Depth::First, Depth::Cursor] {
            for ascending in [false, true] {
                kinds.push(QueryKind { audit: Some(filter), ascending, depth, ..PLAIN });
            }
        }
    }
    kinds
}

impl QueryKind {
    /// Returns its name in the report.
    pub(super) fn name(&self) -> String {
        let mut name = String::new();
        let depth = match self.depth {
            Depth::First => "first page",
            Depth::Anywhere => "deep page",
            Depth::Cursor => "next page by cursor",
        };
        let direction = self.direction();
        let _ = match (self.statistics, self.audit, self.search) {
            (Some(interval), ..) => write!(name, "stats by {interval}"),
            (_, Some(filter), _) => write!(name, "audit {depth}, {direction}, {filter:?}"),
            (.., Some(search)) => write!(name, "search {depth}, {search:?}"),
            (None, None, None) => write!(name, "{depth}, {} {direction}", self.sort),
        };
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

    fn direction(&self) -> &'static str {
        if self.ascending { "Asc" } else { "Desc" }
    }

    /// Whether a random page is requested, for which the length of the list must be known.
    pub(super) fn is_deep(&self) -> bool {
        self.depth == Depth::Anywhere && self.statistics.is_none()
    }

    /// Whether a page is requested by the cursor of the previous one.
    pub(super) fn is_by_cursor(&self) -> bool {
        self.depth == Depth::Cursor && self.statistics.is_none()
    }

    /// Draws values and returns the path of a request, without the page.
    pub(super) fn path(&self, context: &QueryContext, rng: &mut StdRng) -> String {
        if let Some(interval) = self.statistics {
            return self.statistics_path(interval, context, rng);
        }
        let direction = self.direction();
        if let Some(filter) = self.audit {
            return format!(
                "/api/v1/audit?Qt={PAGE_ITEMS}&TpOrd={direction}{}",
                filter.parameters(context, rng)
            );
        }
        let mut path = match self.search {
            Some(Search::Facets) => "/api/v1/events/facets?".to_owned(),
            _ => format!("/api/v1/events?Qt={PAGE_ITEMS}&CpOrd={}&TpOrd={direction}", self.sort),
        };
        if let Some(search) = self.search {
            path.push_str(&search.parameters(rng));
        }
        if let Some(status) = self.status {
            let _ = write!(path, "&Status={status}");
        }
        self.add_destination(&mut path, "DestinationUrlId", context, rng);
        let days = i64::from(context.days);
        let mut time = |first: i64, last: i64| {
            let minutes = rng.random_range(first * 1_440..last * 1_440);
            let milliseconds = rng.random_range(0..60_000);
            let at = context.now - TimeDelta::minutes(minutes) - TimeDelta::milliseconds(milliseconds);
            at.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        if self.from {
            let _ = write!(path, "&From={}", time(days / 2, days));
        }
        if self.to {
            let _ = write!(path, "&To={}", time(0, (days / 2).max(1)));
        }
        path
    }

    fn statistics_path(&self, interval: &str, context: &QueryContext, rng: &mut StdRng) -> String {
        let days = if interval == "hour" { context.days.min(7) } else { context.days };
        let from = context.now - TimeDelta::days(days.into());
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut path =
            format!("/api/v1/stats?Interval={interval}&From={}&To={}", time(from), time(context.now));
        self.add_destination(&mut path, "DestinationId", context, rng);
        path
    }

    fn add_destination(&self, path: &mut String, parameter: &str, context: &QueryContext, rng: &mut StdRng) {
        if self.destination && !context.destinations.is_empty() {
            let destination = context.destinations[rng.random_range(0..context.destinations.len())];
            let _ = write!(path, "&{parameter}={destination}");
        }
    }
}

impl Search {
    /// Draws values and returns the parameters of a search, each after a `&`.
    fn parameters(self, rng: &mut StdRng) -> String {
        let number = rng.random_range(0..1_000_000_u32);
        match self {
            Self::Outcome(name) => format!("&Outcome={name}"),
            Self::HttpStatus(status) => format!("&HttpStatus={status}"),
            Self::Text => format!("&PayloadContains=%22order%22:{number},"),
            Self::Value => format!("&PayloadPath=order&PayloadValue={number}"),
            Self::Facets => String::new(),
        }
    }
}

impl AuditFilter {
    /// Draws values and returns the parameters of a search, each after a `&`.
    fn parameters(self, context: &QueryContext, rng: &mut StdRng) -> String {
        match self {
            Self::Administration => String::new(),
            Self::All => "&Facts=all".to_owned(),
            Self::Type(name) => format!("&Facts=all&Type={name}"),
            Self::Subject if context.destinations.is_empty() => String::new(),
            Self::Subject => {
                let destination = context.destinations[rng.random_range(0..context.destinations.len())];
                format!("&Subject=Destination/{destination}")
            }
            Self::Day => {
                let from = context.now - TimeDelta::days(rng.random_range(1..=i64::from(context.days)));
                let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
                format!("&Facts=all&From={}&To={}", time(from), time(from + TimeDelta::days(1)))
            }
        }
    }
}
