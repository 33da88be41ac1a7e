//! `/events`: the events of the tenant.

pub(crate) mod actions;
pub(crate) mod list;
pub(crate) mod one;
mod sentence;
mod timeline;

use crate::words::{StatusWords, Tone, event_status};

/// Returns the words for a status; a newer API may have statuses that have none.
fn status_words(code: &str) -> StatusWords {
    let unknown = StatusWords {
        label: "Unknown",
        meaning: "Its status is not known here.",
        next: "",
        tone: Tone::Neutral,
    };
    event_status(code).unwrap_or(unknown)
}
