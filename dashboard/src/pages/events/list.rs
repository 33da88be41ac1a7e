//! `/events`: the list with its filters. All of its state is in the URL.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;
use uuid::Uuid;

use crate::api::destinations::Destination;
use crate::api::events::{Event, EventPage, EventQuery};
use crate::clock;
use crate::pages::{Refusal, ingest_curl, ingest_url};
use crate::session::Session;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::{Parameters, url};
use crate::words::{EVENT_STATUSES, StatusWords};

/// Events on a page.
const PAGE_ITEMS: u32 = 50;
/// Characters of a payload in the list.
const EXCERPT_CHARS: usize = 140;

#[derive(Template)]
#[template(path = "events/list.html")]
struct EventsPage {
    frame: Frame,
    filter: Filter,
    destinations: Vec<Destination>,
    total: u64,
    total_text: String,
    rows: Vec<Row>,
    /// URL of the next page.
    older: Option<String>,
    refusal: Option<Refusal>,
    /// Request to send a first event with.
    curl: String,
}

/// What the URL selects.
#[derive(Clone, Debug, Default)]
struct Filter {
    status: Option<String>,
    destination: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Whether the page is not the first one.
    is_later_page: bool,
}

struct Row {
    id: Uuid,
    status: StatusWords,
    /// Beginning of the payload; `None`: it was erased.
    excerpt: Option<String>,
    destination: String,
    failed_attempts: u32,
    accepted: Moment,
    next_attempt: Option<Moment>,
}

/// Shows a page of the list.
///
/// # Errors
/// The API does not answer. A filter that it refuses is explained on the page.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let parameters = Parameters::of(&session.location);
    let query = query(&parameters);
    let destinations = session.api.destinations().await?;
    let (page, refusal) = match session.api.events(&query).await {
        Ok(page) => (page, None),
        Err(error) => (EventPage { total: 0, next: None, items: vec![] }, Some(Refusal::of(error)?)),
    };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let view = View(EventsPage {
        frame: Frame::of(&session, Section::Events, "Events"),
        rows: rows(page.items, &destinations),
        total: page.total,
        total_text: grouped(page.total),
        older: page.next.map(|next| older(&query, &next)),
        filter: Filter::of(query),
        destinations,
        refusal,
        // The token and the key are shown only when they are made.
        curl: ingest_curl(&ingest_url(&session, "$INGEST_TOKEN")),
    });
    Ok(view.answer(status))
}

fn query(parameters: &Parameters) -> EventQuery {
    let get = |name| parameters.get(name).map(str::to_owned);
    EventQuery {
        status: get("status"),
        destination_id: get("destination"),
        from: get("from"),
        to: get("to"),
        after: get("after"),
        oldest_first: false,
        page_items: PAGE_ITEMS,
    }
}

fn older(query: &EventQuery, next: &str) -> String {
    let EventQuery { status, destination_id, from, to, .. } = query;
    let parameters = [
        ("status", status.as_deref()),
        ("destination", destination_id.as_deref()),
        ("from", from.as_deref()),
        ("to", to.as_deref()),
        ("after", Some(next)),
    ];
    url("/events", &parameters)
}

fn rows(events: Vec<Event>, destinations: &[Destination]) -> Vec<Row> {
    let urls: HashMap<Uuid, &str> = destinations.iter().map(|to| (to.id, to.url.as_str())).collect();
    let now = clock::now();
    let row = |event: Event| Row {
        id: event.id,
        status: StatusWords::of_event(&event.status),
        excerpt: event.payload.map(|payload| payload.chars().take(EXCERPT_CHARS).collect()),
        destination: urls
            .get(&event.destination_id)
            .map_or_else(|| event.destination_id.to_string(), |url| without_scheme(url).to_owned()),
        failed_attempts: event.failed_attempts,
        accepted: Moment::of(event.accepted_at, now),
        next_attempt: event.next_attempt_at.map(|at| Moment::of(at, now)),
    };
    events.into_iter().map(row).collect()
}

/// Returns a URL without `https://`, which says little in a narrow column.
fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

impl Filter {
    fn of(query: EventQuery) -> Self {
        let EventQuery { status, destination_id: destination, from, to, after, .. } = query;
        Self { status, destination, from, to, is_later_page: after.is_some() }
    }

    fn is_empty(&self) -> bool {
        !self.is_later_page
            && [&self.status, &self.destination, &self.from, &self.to].iter().all(|field| field.is_none())
    }

    /// Returns the URL of the first page of the same selection.
    fn first_page(&self) -> String {
        let parameters = [
            ("status", self.status.as_deref()),
            ("destination", self.destination.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
        ];
        url("/events", &parameters)
    }

    fn statuses(&self) -> impl Iterator<Item = (&'static str, StatusWords)> {
        EVENT_STATUSES.iter().map(|code| (*code, StatusWords::of_event(code)))
    }

    fn has_status(&self, code: &str) -> bool {
        self.status.as_deref() == Some(code)
    }

    fn has_destination(&self, id: &Uuid) -> bool {
        self.destination.as_deref() == Some(id.to_string().as_str())
    }
}
