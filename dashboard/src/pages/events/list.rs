//! `/events`: the list with its filters, and the selected event next to it. All of its state is in the URL.

use std::collections::HashMap;

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::facets::{self, without_scheme};
use super::failure;
use super::filter::{Filter, LABELS};
use super::preview::Preview;
use crate::api::destinations::Destination;
use crate::api::events::{Event, EventPage, EventQuery, SearchProgress};
use crate::clock;
use crate::pages::{Refusal, ingest_curl, ingest_url};
use crate::session::Session;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::{Parameters, url};
use crate::words::{self, EVENT_STATUSES, OUTCOMES, StatusWords};

/// Events on a page.
const PAGE_ITEMS: u32 = 50;
/// Characters of a payload in the list.
const EXCERPT_CHARS: usize = 140;
/// Characters of a text next to the list.
const PREVIEW_CHARS: usize = 3_000;

#[derive(Template)]
#[template(path = "events/list.html")]
struct EventsPage {
    frame: Frame,
    filter: Filter,
    /// Whether the page is not the first one.
    is_later_page: bool,
    destinations: Vec<Destination>,
    total: String,
    facets: Vec<facets::Group>,
    /// Newest events that the facets count; `None`: all.
    counted: Option<String>,
    search: Option<Progress>,
    rows: Vec<Row>,
    preview: Option<Preview>,
    /// URL of this page without the selected event.
    location: String,
    /// URL of this page with it.
    location_now: String,
    /// URL of the next page.
    older: Option<String>,
    refusal: Option<Refusal>,
    /// Request to send a first event with.
    ingest: String,
    /// Request that returns what the page shows.
    curl: String,
}

/// How far a search got.
struct Progress {
    examined: String,
    /// Time of acceptance of the last event examined.
    through: Option<Moment>,
    from: Moment,
    is_complete: bool,
}

struct Row {
    id: Uuid,
    /// URL of this page with the event next to it.
    preview: String,
    is_selected: bool,
    status: StatusWords,
    /// Beginning of the payload; `None`: it was erased.
    excerpt: Option<String>,
    destination: String,
    /// How the last attempt failed.
    failure: Option<String>,
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
    let filter = Filter::of(&parameters);
    if let Some(id) = filter.get("text").and_then(|text| text.trim().parse::<Uuid>().ok()) {
        return Ok(Redirect::to(&format!("/events/{id}")).into_response());
    }
    let (after, selected) = (parameters.get("after"), parameters.get("event"));
    let query = EventQuery {
        selection: filter.selection(),
        after: after.map(str::to_owned),
        oldest_first: false,
        page_items: PAGE_ITEMS,
    };
    let destinations = session.api.destinations().await?;
    let (page, refusal) = match session.api.events(&query).await {
        Ok(page) => (page, None),
        Err(error) => (EventPage::default(), Some(Refusal::of(error)?.in_form("", LABELS))),
    };
    let frame = Frame::of(&session, Section::Events, "Events");
    let preview = match selected.and_then(|id| id.parse().ok()) {
        Some(id) => Preview::read(&session, &frame, id).await.ok(),
        None => None,
    };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let location = filter.url_with(&[("after", after)]);
    let (facets, counted) = facets(&session, &filter, &page, &destinations).await;
    let view = View(EventsPage {
        frame,
        facets,
        counted,
        total: total(&page),
        search: page.search.map(Progress::from),
        rows: rows(
            page.items,
            &destinations,
            |id| filter.url_with(&[("after", after), ("event", Some(id))]),
            selected,
        ),
        preview,
        location_now: filter.url_with(&[("after", after), ("event", selected)]),
        location,
        older: page.next.map(|next| filter.url_with(&[("after", Some(&next))])),
        is_later_page: after.is_some(),
        filter,
        destinations,
        refusal,
        // The token and the key are shown only when they are made.
        ingest: ingest_curl(&ingest_url(&session, "$INGEST_TOKEN")),
        curl: format!(
            "curl -s '{}/api/v1{}' -H \"Authorization: Bearer $TOKEN\"",
            session.cookies.base(),
            url("/events", &query.parameters())
        ),
    });
    Ok(view.answer(status))
}

/// Returns what the list can be narrowed by, and how many events that counts if not all. Without it the list is still of use.
async fn facets(
    session: &Session,
    filter: &Filter,
    page: &EventPage,
    destinations: &[Destination],
) -> (Vec<facets::Group>, Option<String>) {
    if filter.is_search() || (page.items.is_empty() && filter.is_empty()) {
        return (vec![], None);
    }
    let Ok(facets) = session.api.event_facets(&filter.selection()).await else { return (vec![], None) };
    let counted = (!facets.is_complete).then(|| grouped(facets.examined));
    let senders = facets::labels_of_senders(session, &facets).await;
    (facets::groups(facets, filter, destinations, &senders), counted)
}

fn total(page: &EventPage) -> String {
    let more = if page.total_is_lower_bound && page.search.is_none() { "more than " } else { "" };
    let found = if page.search.is_some() { " found on this page" } else { "" };
    let noun = if page.total == 1 { "event" } else { "events" };
    format!("{more}{} {noun}{found}", grouped(page.total))
}

fn rows(
    events: Vec<Event>,
    destinations: &[Destination],
    preview: impl Fn(&str) -> String,
    selected: Option<&str>,
) -> Vec<Row> {
    let urls: HashMap<Uuid, &str> = destinations.iter().map(|to| (to.id, to.url.as_str())).collect();
    let now = clock::now();
    let row = |event: Event| Row {
        id: event.id,
        preview: preview(&event.id.to_string()),
        is_selected: selected == Some(event.id.to_string().as_str()),
        status: StatusWords::of_event(&event.status),
        failure: failure(&event),
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

impl EventsPage {
    fn statuses(&self) -> impl Iterator<Item = (&'static str, StatusWords)> {
        EVENT_STATUSES.iter().map(|code| (*code, StatusWords::of_event(code)))
    }

    /// Returns the codes of the outcomes of attempts and their names.
    fn outcomes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        OUTCOMES.iter().filter_map(|code| Some((*code, words::outcome(code)?.label)))
    }

    /// Returns the part of a text that is shown at once, and the rest.
    fn cut<'a>(&self, text: &'a str) -> (Foreign<'a>, Option<Foreign<'a>>) {
        Foreign::cut(text, PREVIEW_CHARS)
    }

    /// Returns whether the list follows what changes. A search takes too long to be repeated for each change, and later
    /// pages are of the past.
    fn is_live(&self) -> bool {
        !self.is_later_page && self.refusal.is_none() && !self.filter.is_search()
    }
}

impl From<SearchProgress> for Progress {
    fn from(search: SearchProgress) -> Self {
        let now = clock::now();
        Self {
            examined: grouped(search.examined),
            through: search.through.map(|at| Moment::of(at, now)),
            from: Moment::of(search.from, now),
            is_complete: search.is_complete,
        }
    }
}
