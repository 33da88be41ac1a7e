//! `/`: how deliveries go, and what needs attention.

pub(super) mod chart;
mod failures;

use askama::Template;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};

use crate::api::destinations::Destination;
use crate::api::events::{Event, EventQuery, Selection};
use crate::api::stats::{Counts, Stats};
use crate::clock;
use crate::session::Session;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, duration, grouped, milliseconds};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::{Parameters, url};
use crate::words::{StatusWords, destination_status};
use chart::Chart;
use failures::Failure;

/// Times that waiting events may be over their time before the page says so.
const OVERDUE: TimeDelta = TimeDelta::seconds(30);

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    range: Range,
    total: Counts,
    waiting: u64,
    oldest_waiting: Option<OldestWaiting>,
    failures: Vec<Failure>,
    deliveries: Chart,
    latency: Chart,
    troubled: Vec<(Destination, StatusWords)>,
    has_destinations: bool,
    last_seal: Option<Moment>,
}

/// Time range of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// Value of the parameter.
    name: &'static str,
    label: &'static str,
    hours: i64,
    interval: &'static str,
}

const RANGES: [Range; 3] = [
    Range { name: "24h", label: "24 hours", hours: 24, interval: "hour" },
    Range { name: "7d", label: "7 days", hours: 7 * 24, interval: "hour" },
    Range { name: "30d", label: "30 days", hours: 30 * 24, interval: "day" },
];

struct OldestWaiting {
    event: Event,
    age: String,
    is_overdue: bool,
}

/// Shows the overview.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let now = clock::now();
    let range = Range::of(Parameters::of(&session.location).get("range"));
    let stats = session.api.stats(now - TimeDelta::hours(range.hours - 1), range.interval).await?;
    let destinations = session.api.destinations().await?;
    let oldest = oldest_waiting(&session).await?;
    // What it says is worth less than the rest of the page.
    let readiness = session.api.readiness().await.unwrap_or_default();
    let Stats { waiting, total, points } = stats;
    let page = OverviewPage {
        frame: Frame::of(&session, Section::Overview, "Overview"),
        range,
        waiting,
        oldest_waiting: oldest.map(|event| OldestWaiting::of(event, now)),
        failures: failures::latest(&session).await?,
        deliveries: Chart::of_deliveries(&points, range.interval),
        latency: Chart::of_latency(&points, range.interval),
        total,
        has_destinations: !destinations.is_empty(),
        troubled: troubled(destinations),
        last_seal: readiness.evidence.last_checkpoint_at.map(|at| Moment::of(at, now)),
    };
    Ok(View(page).into_response())
}

/// Returns the event that has waited longest since it was accepted.
async fn oldest_waiting(session: &Session) -> Result<Option<Event>, PageError> {
    let mut oldest: Option<Event> = None;
    for status in ["Pending", "WaitingRetry"] {
        let query = EventQuery {
            selection: Selection(vec![("Status", status.to_owned())]),
            oldest_first: true,
            page_items: 1,
            ..EventQuery::default()
        };
        let first = session.api.events(&query).await?.items.into_iter().next();
        oldest = oldest.into_iter().chain(first).min_by_key(|event| event.accepted_at);
    }
    Ok(oldest)
}

fn troubled(destinations: Vec<Destination>) -> Vec<(Destination, StatusWords)> {
    let words = |destination: Destination| {
        let words = destination_status(&destination.status)?;
        (destination.status != "Active").then_some((destination, words))
    };
    destinations.into_iter().filter_map(words).collect()
}

impl Range {
    fn of(name: Option<&str>) -> Self {
        RANGES.into_iter().find(|range| Some(range.name) == name).unwrap_or(RANGES[0])
    }

    fn all(self) -> impl Iterator<Item = (Self, bool)> {
        RANGES.into_iter().map(move |range| (range, range == self))
    }
}

impl OldestWaiting {
    fn of(event: Event, now: DateTime<Utc>) -> Self {
        let age = duration(now - event.accepted_at);
        let is_overdue = event.next_attempt_at.is_some_and(|at| now - at > OVERDUE);
        Self { event, age, is_overdue }
    }
}

/// Returns the link to the events of a status, to a destination if one is given.
fn events(status: &str, destination: Option<&uuid::Uuid>) -> String {
    let destination = destination.map(uuid::Uuid::to_string);
    url("/events", &[("status", Some(status)), ("destination", destination.as_deref())])
}

/// Returns a duration, or a dash without deliveries.
pub(super) fn time_to_deliver(ms: &Option<u64>) -> String {
    ms.map_or_else(|| "–".to_owned(), milliseconds)
}
