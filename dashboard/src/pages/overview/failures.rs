//! The latest events that were not delivered, each with the reason.

use uuid::Uuid;

use crate::api::events::{EventQuery, Selection};
use crate::clock;
use crate::pages::events::failure;
use crate::session::Session;
use crate::text::times::Moment;
use crate::web::error::PageError;
use crate::words::StatusWords;

/// Events that are shown.
const ITEMS: u32 = 5;
/// Characters of a payload.
const EXCERPT_CHARS: usize = 90;

/// An event that was not delivered.
pub(super) struct Failure {
    pub(super) id: Uuid,
    pub(super) status: StatusWords,
    /// How its last attempt ended.
    pub(super) reason: String,
    /// Beginning of the payload; `None`: it was erased.
    pub(super) excerpt: Option<String>,
    pub(super) accepted: Moment,
    pub(super) next_attempt: Option<Moment>,
}

/// Returns the latest events that were given up or are tried again, the newest first.
pub(super) async fn latest(session: &Session) -> Result<Vec<Failure>, PageError> {
    let mut events = vec![];
    for status in ["CriticalFailure", "WaitingRetry"] {
        let selection = Selection(vec![("Status", status.to_owned())]);
        let query = EventQuery { selection, page_items: ITEMS, ..EventQuery::default() };
        events.extend(session.api.events(&query).await?.items);
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.accepted_at));
    let now = clock::now();
    let failures = events.into_iter().take(ITEMS as usize).map(|event| Failure {
        id: event.id,
        status: StatusWords::of_event(&event.status),
        reason: failure(&event).unwrap_or_default(),
        excerpt: event.payload.map(|payload| payload.chars().take(EXCERPT_CHARS).collect()),
        accepted: Moment::of(event.accepted_at, now),
        next_attempt: event.next_attempt_at.map(|at| Moment::of(at, now)),
    });
    Ok(failures.collect())
}
