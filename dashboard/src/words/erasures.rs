//! What an erasure of payloads means.

use super::{StatusWords, Tone};

/// Returns what the erasure of its payload means for an event of this status, as a sentence.
#[must_use]
pub fn erasure_of_event(status: &str) -> Option<&'static str> {
    Some(match status {
        "Pending" | "WaitingRetry" => {
            "It waits for an attempt, so it is cancelled with the erasure: it is never delivered."
        }
        "Processing" | "Failed" => {
            "An attempt is in progress. The payload can be erased once it has ended, within about a minute."
        }
        "Succeeded" => "It was delivered. What the receiver has is not erased.",
        "CriticalFailure" => "Its delivery was given up. Without its payload it cannot be replayed.",
        "Cancelled" => "It was cancelled, so no delivery is lost.",
        _ => return None,
    })
}

impl StatusWords {
    pub(crate) fn of_erasure(is_completed: bool) -> Self {
        if is_completed {
            let meaning = "All events that it was for were reached.";
            Self { label: "Completed", meaning, next: "", tone: Tone::Good }
        } else {
            Self {
                label: "Running",
                meaning: "It is carried out in the background, the oldest event first.",
                next: "This page can be closed.",
                tone: Tone::Progress,
            }
        }
    }
}
