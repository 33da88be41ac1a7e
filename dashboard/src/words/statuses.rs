//! Statuses of events and destinations, states of bulk actions.

use super::Tone;

/// Words for a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusWords {
    /// Name for lists.
    pub label: &'static str,
    /// What it means, as a sentence.
    pub meaning: &'static str,
    /// What happens next, or what the person can do.
    pub next: &'static str,
    pub tone: Tone,
}

impl StatusWords {
    /// A newer API may have statuses that have no words.
    const UNKNOWN: Self =
        Self { label: "Unknown", meaning: "Its status is not known here.", next: "", tone: Tone::Neutral };

    pub(crate) fn of_event(code: &str) -> Self {
        event_status(code).unwrap_or(Self::UNKNOWN)
    }

    pub(crate) fn of_user(code: &str) -> Self {
        super::user_status(code).unwrap_or(Self::UNKNOWN)
    }

    pub(crate) fn of_destination(code: &str) -> Self {
        destination_status(code).unwrap_or(Self::UNKNOWN)
    }

    pub(crate) fn of_bulk_action(code: &str) -> Self {
        bulk_action_state(code).unwrap_or(Self::UNKNOWN)
    }
}

/// Statuses of events, in the order in which filters offer them.
pub(crate) const EVENT_STATUSES: [&str; 7] =
    ["Pending", "Processing", "WaitingRetry", "Failed", "Succeeded", "CriticalFailure", "Cancelled"];

/// Returns the words for a status of an event.
#[must_use]
pub fn event_status(code: &str) -> Option<StatusWords> {
    let (label, meaning, next, tone) = match code {
        "Pending" => (
            "Waiting",
            "Waiting for its first attempt.",
            "It is sent as soon as its destination has a free place.",
            Tone::Waiting,
        ),
        "Processing" => {
            ("Sending", "An attempt is in progress.", "Its outcome follows shortly.", Tone::Progress)
        }
        "Succeeded" => ("Delivered", "The destination accepted it.", "There is nothing to do.", Tone::Good),
        "Failed" => {
            ("Failed", "An attempt has failed.", "Whether another one follows is being decided.", Tone::Bad)
        }
        "WaitingRetry" => {
            ("Retrying", "The last attempt failed.", "It will be tried again by itself.", Tone::Waiting)
        }
        "CriticalFailure" => (
            "Given up",
            "Delivery was given up.",
            "It is not tried again by itself. When the cause is mended, replay it.",
            Tone::Bad,
        ),
        "Cancelled" => (
            "Cancelled",
            "It was cancelled and is never delivered.",
            "There is nothing to do.",
            Tone::Neutral,
        ),
        _ => return None,
    };
    Some(StatusWords { label, meaning, next, tone })
}

/// Returns the words for a status of a destination, which includes the state of its circuit breaker.
#[must_use]
pub fn destination_status(code: &str) -> Option<StatusWords> {
    let (label, meaning, next, tone) = match code {
        "Active" => ("Active", "Events are delivered to it.", "", Tone::Good),
        "Suspended" => (
            "Paused",
            "The circuit breaker is open: the destination failed too often, so nothing is sent to it for a while.",
            "Its events wait. After the pause one attempt tests it. Nothing is lost.",
            Tone::Bad,
        ),
        "Inactive" => (
            "Switched off",
            "It was switched off: it accepts no new events and nothing is sent to it.",
            "Switch it on again to continue.",
            Tone::Neutral,
        ),
        _ => return None,
    };
    Some(StatusWords { label, meaning, next, tone })
}

/// Returns the words for a state of a bulk action.
#[must_use]
pub fn bulk_action_state(code: &str) -> Option<StatusWords> {
    let (label, meaning, next, tone) = match code {
        "Running" => (
            "Running",
            "It is carried out in the background, the oldest event first.",
            "This page can be closed.",
            Tone::Progress,
        ),
        "Paused" => {
            ("Paused", "It is interrupted.", "Resume it to continue after the last event.", Tone::Waiting)
        }
        "Cancelled" => (
            "Cancelled",
            "It was ended before all events were examined.",
            "What was done to events stays.",
            Tone::Neutral,
        ),
        "Completed" => ("Completed", "All events were examined.", "", Tone::Good),
        _ => return None,
    };
    Some(StatusWords { label, meaning, next, tone })
}
