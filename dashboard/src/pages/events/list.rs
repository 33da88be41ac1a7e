//! `/events`: the list with its filters, and the selected event next to it. All of its state is in the URL.

use std::collections::HashMap;

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use uuid::Uuid;

use super::facets::{self, without_scheme};
use super::failure;
use super::filter::{Filter, LABELS};
use super::preview::Preview;
use crate::api::destinations::Destination;
use crate::api::events::{Event, EventPage, EventQuery, SearchProgress};
use crate::api::portal::CurrentLink;
use crate::clock;
use crate::pages::{Refusal, ingest_curl, ingest_url_of};
use crate::session::Session;
use crate::session::viewer::{Identity, Viewer};
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::Frame;
use crate::web::query::{Parameters, url};
use crate::words::{self, EVENT_STATUSES, OUTCOMES, StatusWords};

/// Events on a page.
const PAGE_ITEMS: u32 = 50;
/// Hours of the statistics of a portal link's destination.
const STATISTICS_HOURS: i64 = 24;
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
    /// Destination of a portal link.
    portal: Option<DestinationSummary>,
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

/// Destination that a portal link shows.
struct DestinationSummary {
    url: String,
    status: StatusWords,
    accepted: String,
    succeeded: String,
    failed_attempts: String,
    waiting: String,
    operates: bool,
    expires: Moment,
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
    show(session.into()).await
}

/// Shows a page of the list to a user or the holder of a portal link.
///
/// # Errors
/// The API does not answer. A filter that it refuses is explained on the page.
pub(in crate::pages) async fn show(viewer: Viewer) -> Result<Response, PageError> {
    let base = viewer.base();
    let parameters = Parameters::of(&viewer.location);
    let filter = Filter::below(base, &parameters);
    if let Some(id) = filter.get("text").and_then(|text| text.trim().parse::<Uuid>().ok()) {
        return Ok(Redirect::to(&format!("{base}/events/{id}")).into_response());
    }
    let (after, selected) = (parameters.get("after"), parameters.get("event"));
    let query = EventQuery {
        selection: filter.selection(),
        after: after.map(str::to_owned),
        oldest_first: false,
        page_items: PAGE_ITEMS,
    };
    let (destinations, portal) = match viewer.portal_link() {
        None => (viewer.api.destinations().await?, None),
        Some(link) => {
            let destination = viewer.api.destination(link.destination_id).await?;
            let summary = DestinationSummary::read(&viewer, link, &destination).await?;
            (vec![destination], Some(summary))
        }
    };
    let (page, refusal) = match viewer.api.events(&query).await {
        Ok(page) => (page, None),
        Err(error) => (EventPage::default(), Some(Refusal::of(error)?.in_form("", LABELS))),
    };
    let frame = Frame::of_viewer(&viewer, "Events");
    let preview = match selected.and_then(|id| id.parse().ok()) {
        Some(id) => Preview::read(&viewer, id).await.ok(),
        None => None,
    };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let location = filter.url_with(&[("after", after)]);
    let (facets, counted) = facets(&viewer, &filter, &page, &destinations).await;
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
        portal,
        refusal,
        ingest: example(&viewer),
        curl: format!(
            "curl -s '{}/api/v1{}' -H \"Authorization: Bearer $TOKEN\"",
            viewer.cookies.base(),
            url("/events", &query.parameters())
        ),
    });
    Ok(view.answer(status))
}

/// Returns a request that sends an event. The token and the key are shown only when they are made.
fn example(viewer: &Viewer) -> String {
    match &viewer.identity {
        Identity::User(claims) => {
            ingest_curl(&ingest_url_of(&viewer.cookies, claims.tenant_id, "$INGEST_TOKEN"))
        }
        Identity::PortalLink(_) => String::new(),
    }
}

/// Returns what the list can be narrowed by, and how many events that counts if not all. Without it the list is still of use.
async fn facets(
    viewer: &Viewer,
    filter: &Filter,
    page: &EventPage,
    destinations: &[Destination],
) -> (Vec<facets::Group>, Option<String>) {
    if filter.is_search() || (page.items.is_empty() && filter.is_empty()) {
        return (vec![], None);
    }
    let Ok(facets) = viewer.api.event_facets(&filter.selection()).await else { return (vec![], None) };
    let counted = (!facets.is_complete).then(|| grouped(facets.examined));
    let senders = facets::labels_of_senders(viewer, &facets).await;
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

impl DestinationSummary {
    /// Reads what was delivered to the destination within a day.
    async fn read(viewer: &Viewer, link: &CurrentLink, destination: &Destination) -> Result<Self, PageError> {
        let now = clock::now();
        let from = now - TimeDelta::hours(STATISTICS_HOURS - 1);
        let stats = viewer.api.stats_of(from, "hour", Some(destination.id)).await?;
        Ok(Self {
            url: destination.url.clone(),
            status: StatusWords::of_destination(&destination.status),
            accepted: grouped(stats.total.accepted),
            succeeded: grouped(stats.total.succeeded),
            failed_attempts: grouped(stats.total.failed_attempts),
            waiting: grouped(stats.waiting),
            operates: link.operates(),
            expires: Moment::of(link.expires_at, now),
        })
    }
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
    /// pages are of the past. The stream of changes is of the whole tenant, so not for portal links.
    fn is_live(&self) -> bool {
        !self.frame.is_portal && !self.is_later_page && self.refusal.is_none() && !self.filter.is_search()
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
