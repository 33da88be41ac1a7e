//! An event next to the list: what happened to it, what was sent, what was answered.

use uuid::Uuid;

use super::sentence::{Summary, summary};
use crate::api::events::Attempt;
use crate::api::problem::ApiError;
use crate::clock;
use crate::session::viewer::Viewer;
use crate::text::json::indented;
use crate::text::times::{Moment, milliseconds};
use crate::words::{self, OutcomeWords, StatusWords};

/// The selected event.
pub(super) struct Preview {
    pub(super) id: Uuid,
    pub(super) status: StatusWords,
    pub(super) summary: Summary,
    pub(super) accepted: Moment,
    pub(super) idempotency_key: Option<String>,
    /// With line breaks; `None`: the payload was erased.
    pub(super) payload: Option<String>,
    pub(super) last: Option<LastAttempt>,
    pub(super) may_replay: bool,
    pub(super) may_cancel: bool,
}

/// The attempt that ended last.
pub(super) struct LastAttempt {
    pub(super) number: u32,
    pub(super) words: Option<OutcomeWords>,
    pub(super) http_status: Option<u16>,
    pub(super) duration: String,
    pub(super) detail: Option<String>,
    pub(super) body: Option<String>,
}

impl Preview {
    /// Reads an event.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub(super) async fn read(viewer: &Viewer, id: Uuid) -> Result<Self, ApiError> {
        let event = viewer.api.event(id).await?;
        let attempts = viewer.api.attempts(id).await?.items;
        let now = clock::now();
        Ok(Self {
            id,
            status: StatusWords::of_event(&event.status),
            summary: summary(&event, &attempts, false, now),
            accepted: Moment::of(event.accepted_at, now),
            last: attempts.into_iter().rev().find(|attempt| attempt.outcome.is_some()).map(LastAttempt::from),
            may_replay: event.may_be_replayed() && viewer.may_replay(),
            may_cancel: event.may_be_cancelled() && viewer.may_cancel(),
            payload: event.payload.map(|payload| indented(&payload).unwrap_or(payload)),
            idempotency_key: event.idempotency_key,
        })
    }
}

impl From<Attempt> for LastAttempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.attempt,
            words: attempt.outcome.as_deref().and_then(words::outcome),
            http_status: attempt.http_status,
            duration: attempt.duration_ms.map(milliseconds).unwrap_or_default(),
            detail: attempt.detail,
            body: attempt.response_excerpt.filter(|body| !body.is_empty()),
        }
    }
}
