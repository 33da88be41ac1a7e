//! `/events/{id}`: what happened to one event, in one sentence, as bars on a time axis, and in full.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::past::Past;
use super::reproduce::commands;
use super::sentence::{Summary, summary};
use super::timeline::Timeline;
use crate::api::events::{Attempt, Event, Fact};
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::session::viewer::Viewer;
use crate::text::foreign::Foreign;
use crate::text::json::indented;
use crate::text::times::{Moment, milliseconds};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::Frame;
use crate::web::query::{Parameters, url};
use crate::words::{self, OutcomeWords, StatusWords};

/// Characters of a text that are shown at once. The rest opens.
const TEXT_CHARS: usize = 4_000;

#[derive(Template)]
#[template(path = "events/one.html")]
struct EventPage {
    frame: Frame,
    view: ViewName,
    /// URL of the same view, without what was done just now.
    location: String,
    id: Uuid,
    status: StatusWords,
    summary: Summary,
    /// What the last failure means for the person.
    advice: &'static str,
    destination_id: Uuid,
    /// URL of the destination now; `None`: it cannot be read.
    destination: Option<String>,
    idempotency_key: Option<String>,
    accepted: Moment,
    delivered: Option<Moment>,
    next_attempt: Option<Moment>,
    failed_attempts: u32,
    payload: Payload,
    timeline: Option<Timeline>,
    /// Newest first.
    attempts: Vec<AttemptRow>,
    /// Attempts before those that are shown.
    earlier_attempts: usize,
    facts: Vec<FactRow>,
    /// In its view only.
    past: Option<Past>,
    json: String,
    may_replay: bool,
    may_cancel: bool,
    may_erase: bool,
    curl: String,
    /// Commands that send it by hand.
    reproduce: Option<String>,
    /// Whether its whole history can be proved; `None`: it is not known.
    is_sealed: Option<bool>,
    refusal: Option<Refusal>,
}

/// View of an event's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ViewName {
    Timeline,
    Facts,
    Past,
    Json,
}

struct Payload {
    /// With line breaks; `None`: the payload was erased.
    text: Option<String>,
    bytes: usize,
    /// When and why it was erased on request.
    erasure: Option<(Moment, String)>,
}

struct AttemptRow {
    number: u32,
    started: Moment,
    duration: String,
    words: Option<OutcomeWords>,
    http_status: Option<u16>,
    detail: Option<String>,
    address: Option<String>,
    /// `None` through a portal link.
    worker: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<String>,
    url: String,
    auth: String,
    limit: u32,
    fingerprints: String,
    is_open: bool,
}

struct FactRow {
    version: u64,
    name: String,
    words: &'static str,
    time: Moment,
    actor: String,
    request_id: Option<String>,
    data: String,
}

/// Shows an event.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session.into(), id, None).await
}

/// Shows an event to a user or the holder of a portal link, with the refusal of what was asked for.
///
/// # Errors
/// The API refuses or does not answer.
pub(in crate::pages) async fn show(
    viewer: &Viewer,
    id: Uuid,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let event: Box<RawValue> = viewer.api.get(&format!("/events/{id}")).await?;
    let json = indented(event.get()).unwrap_or_else(|| event.get().to_owned());
    let event: Event =
        serde_json::from_str(event.get()).map_err(|error| PageError::Internal(error.to_string()))?;
    let attempts = viewer.api.attempts(id).await?;
    let (mut facts, mut facts_total, mut is_sealed) = (vec![], 0, None);
    // Facts name people of the tenant, so portal links do not show them.
    if viewer.portal_link().is_none() {
        let history = viewer.api.history(id).await?;
        (facts, facts_total) = (history.items, history.total);
        // The event can be shown without the evidence for it.
        is_sealed = viewer.api.is_sealed(id).await.ok();
    }
    // The destination explains more, but the event can be shown without it.
    let destination = viewer.api.destination(event.destination_id).await.ok();
    let is_paused = destination.as_ref().is_some_and(|destination| destination.status == "Suspended");
    let parameters = Parameters::of(&viewer.location);
    let now = clock::now();
    let moment = |at| Moment::of(at, now);
    let frame = Frame::of_viewer(viewer, "Event").with_notice(match parameters.get("done") {
        Some("replayed") => Some("Replayed. It is delivered again with a full set of attempts."),
        Some("cancelled") => Some("Cancelled. It is never delivered."),
        Some("erased") => Some("Erased. The payload is gone, and the history stays."),
        Some("sent") => Some("The test event was accepted."),
        _ => None,
    });
    let view = ViewName::of(parameters.get("view"));
    let step = parameters.get("step").filter(|_| view == ViewName::Past);
    let past = match view {
        ViewName::Past => Past::read(viewer, id, &facts, facts_total, step, now).await?,
        _ => None,
    };
    let target = destination.as_ref().map(|destination| destination.url.as_str());
    let reproduce =
        target.zip(event.payload.as_deref()).and_then(|(url, payload)| commands(id, url, payload));
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let last = attempts.items.iter().rev().find_map(|attempt| words::outcome(attempt.outcome.as_deref()?));
    let has_failed = matches!(event.status.as_str(), "WaitingRetry" | "CriticalFailure");
    let page = View(EventPage {
        view,
        location: url(
            &format!("{}/events/{id}", viewer.base()),
            &[("view", parameters.get("view")), ("step", step)],
        ),
        id,
        status: StatusWords::of_event(&event.status),
        summary: summary(&event, &attempts.items, is_paused, now),
        advice: last.filter(|_| has_failed).map_or("", |words| words.advice),
        destination_id: event.destination_id,
        destination: destination.map(|destination| destination.url),
        idempotency_key: event.idempotency_key.clone(),
        accepted: moment(event.accepted_at),
        delivered: event.delivered_at.map(moment),
        next_attempt: event.next_attempt_at.map(moment),
        failed_attempts: event.failed_attempts,
        timeline: Timeline::of(&event, &attempts.items, now),
        earlier_attempts: attempts.total.saturating_sub(attempts.items.len()),
        attempts: attempts
            .items
            .into_iter()
            .rev()
            .enumerate()
            .map(|(at, row)| AttemptRow::of(row, at, now))
            .collect(),
        facts: facts.into_iter().map(|fact| FactRow::of(fact, now)).collect(),
        json,
        may_replay: event.may_be_replayed() && viewer.may_replay(),
        may_cancel: event.may_be_cancelled() && viewer.may_cancel(),
        may_erase: event.payload.is_some() && frame.allows(Role::Admin),
        payload: Payload {
            bytes: event.payload.as_deref().map_or(0, str::len),
            text: event.payload.map(|payload| indented(&payload).unwrap_or(payload)),
            erasure: event.erasure.map(|erasure| (moment(erasure.at), erasure.reason)),
        },
        curl: format!(
            "curl -s '{}/api/v1/events/{id}{}' -H \"Authorization: Bearer $TOKEN\"",
            viewer.cookies.base(),
            past.as_ref().map_or_else(|| "/attempts".to_owned(), |past| format!("?AsOf={}", past.time.iso)),
        ),
        past,
        reproduce,
        frame,
        is_sealed,
        refusal,
    });
    Ok(page.answer(status_code))
}

impl EventPage {
    /// Returns the part of a text that is shown at once, and the rest.
    fn cut<'a>(&self, text: &'a str) -> (Foreign<'a>, Option<Foreign<'a>>) {
        Foreign::cut(text, TEXT_CHARS)
    }
}

impl ViewName {
    fn of(parameter: Option<&str>) -> Self {
        match parameter {
            Some("facts") => Self::Facts,
            Some("past") => Self::Past,
            Some("json") => Self::Json,
            _ => Self::Timeline,
        }
    }
}

impl AttemptRow {
    /// Returns the row at this place from the newest one, which is open.
    fn of(attempt: Attempt, at: usize, now: chrono::DateTime<chrono::Utc>) -> Self {
        let configuration = attempt.configuration;
        Self {
            number: attempt.attempt,
            started: Moment::of(attempt.started_at, now),
            duration: attempt.duration_ms.map(milliseconds).unwrap_or_default(),
            words: attempt.outcome.as_deref().and_then(words::outcome),
            http_status: attempt.http_status,
            detail: attempt.detail,
            address: attempt.address,
            worker: attempt.worker,
            headers: attempt.response_headers.into_iter().collect(),
            body: attempt.response_excerpt.filter(|body| !body.is_empty()),
            url: configuration.url,
            auth: configuration.auth_type.unwrap_or_else(|| "none".to_owned()),
            limit: configuration.server_rate_limit,
            fingerprints: configuration.webhook_secret_fingerprints.join(", "),
            is_open: at == 0,
        }
    }
}

impl FactRow {
    fn of(fact: Fact, now: chrono::DateTime<chrono::Utc>) -> Self {
        let data = fact.data.get();
        Self {
            version: fact.version,
            words: words::fact(&fact.name).unwrap_or(""),
            name: fact.name,
            time: Moment::of(fact.time, now),
            actor: fact.actor.unwrap_or_default(),
            request_id: fact.request_id,
            data: indented(data).unwrap_or_else(|| data.to_owned()),
        }
    }
}
