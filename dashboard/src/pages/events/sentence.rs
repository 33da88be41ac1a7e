//! What happened to an event, in one sentence, and what happens next.

use chrono::{DateTime, Utc};

use crate::api::events::{Attempt, Event};
use crate::text::times::{duration, milliseconds};
use crate::words::{StatusWords, outcome};

/// Summary of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) happened: String,
    /// What happens next and when, or what the person can do.
    pub(super) next: String,
}

/// Sums an event up. `attempts` are in order; `destination_is_paused` explains a wait.
pub(super) fn summary(
    event: &Event,
    attempts: &[Attempt],
    destination_is_paused: bool,
    now: DateTime<Utc>,
) -> Summary {
    let words = StatusWords::of_event(&event.status);
    let last = attempts.iter().rev().find(|attempt| attempt.outcome.is_some());
    let paused = if destination_is_paused {
        " Its destination is paused, because it failed too often: the event waits until the pause is over."
    } else {
        ""
    };
    match (event.status.as_str(), last) {
        ("Succeeded", Some(attempt)) => {
            let ended = event.delivered_at.or(attempt.finished_at).unwrap_or(now);
            Summary {
                happened: format!(
                    "Delivered with attempt {}, {} after it was accepted.",
                    attempt.attempt,
                    duration(ended - event.accepted_at)
                ),
                next: String::new(),
            }
        }
        ("WaitingRetry", Some(attempt)) => {
            let next = match event.next_attempt_at {
                Some(at) if at > now => format!("The next attempt is in {}.", duration(at - now)),
                _ => "The next attempt is due.".to_owned(),
            };
            Summary { happened: failure(attempt), next: format!("{next}{paused}") }
        }
        ("CriticalFailure", Some(attempt)) => {
            let count = match event.failed_attempts {
                1 => "1 failed attempt".to_owned(),
                count => format!("{count} failed attempts"),
            };
            Summary {
                happened: format!("Given up after {count}. {}", failure(attempt)),
                next: words.next.to_owned(),
            }
        }
        ("Processing", _) => {
            let running = attempts.last().filter(|attempt| attempt.outcome.is_none());
            let happened = running.map_or_else(
                || words.meaning.to_owned(),
                |attempt| {
                    format!(
                        "Attempt {} is in progress for {}.",
                        attempt.attempt,
                        duration(now - attempt.started_at)
                    )
                },
            );
            Summary { happened, next: words.next.to_owned() }
        }
        ("Pending", None) => {
            Summary { happened: words.meaning.to_owned(), next: format!("{}{paused}", words.next) }
        }
        ("Pending", Some(_)) => Summary {
            happened: "It was replayed and waits for its next attempt.".to_owned(),
            next: format!("{}{paused}", words.next),
        },
        _ => Summary { happened: words.meaning.to_owned(), next: words.next.to_owned() },
    }
}

/// Returns why an attempt failed.
fn failure(attempt: &Attempt) -> String {
    let code = attempt.outcome.as_deref().unwrap_or_default();
    let number = attempt.attempt;
    match (code, attempt.http_status) {
        ("refused_status", Some(status)) => {
            format!("Attempt {number} failed: the destination answered with status {status}.")
        }
        ("timeout", _) => format!(
            "Attempt {number} failed: the destination did not answer within {}.",
            milliseconds(attempt.duration_ms.unwrap_or_default())
        ),
        _ => {
            let happened = outcome(code).map_or("it is not known why", |words| words.happened);
            format!("Attempt {number} failed: {happened}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn event(status: &str, next_in_seconds: Option<i64>) -> Event {
        serde_json::from_value(json!({
            "id": "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a",
            "destinationUrlId": "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1b",
            "payload": null, "erasure": null, "status": status, "idempotencyKey": null, "currentRetryCount": 3,
            "nextAttemptAt": next_in_seconds.map(|seconds| now() + TimeDelta::seconds(seconds)),
            "acceptedAt": now() - TimeDelta::seconds(600), "deliveredAt": null,
        }))
        .unwrap()
    }

    fn attempt(number: u32, outcome: Option<&str>, http_status: Option<u16>) -> Attempt {
        let started = now() - TimeDelta::seconds(60);
        serde_json::from_value(json!({
            "attempt": number, "startedAt": started, "finishedAt": outcome.map(|_| started), "outcome": outcome,
            "httpStatus": http_status, "durationMs": 5_000, "responseHeaders": {}, "responseExcerpt": null,
            "address": null, "detail": null, "worker": "w",
            "configuration": { "url": "https://a.example", "authType": null, "serverRateLimit": 1,
                "webhookSecretFingerprints": [] },
        }))
        .unwrap()
    }

    fn of(event: &Event, attempts: &[Attempt]) -> String {
        let Summary { happened, next } = summary(event, attempts, false, now());
        format!("{happened} {next}").trim().to_owned()
    }

    #[test]
    fn the_summary_says_why_and_when() {
        let refused = attempt(3, Some("refused_status"), Some(503));
        assert_eq!(
            of(&event("WaitingRetry", Some(240)), std::slice::from_ref(&refused)),
            "Attempt 3 failed: the destination answered with status 503. The next attempt is in 4 min."
        );
        assert_eq!(
            of(&event("CriticalFailure", None), &[refused, attempt(4, Some("timeout"), None)]),
            "Given up after 3 failed attempts. Attempt 4 failed: the destination did not answer within 5.00 s. It is not \
             tried again by itself. When the cause is mended, replay it."
        );
        assert_eq!(
            of(&event("Processing", None), &[attempt(1, None, None)]),
            "Attempt 1 is in progress for 1 min. Its outcome follows shortly."
        );
        assert_eq!(
            of(&event("Succeeded", None), &[attempt(2, Some("succeeded"), Some(200))]),
            "Delivered with attempt 2, 9 min 0 s after it was accepted.".replace(" 0 s", "")
        );
    }

    #[test]
    fn every_status_has_a_summary_without_attempts() {
        for status in crate::words::EVENT_STATUSES {
            assert!(!of(&event(status, None), &[]).is_empty(), "{status}");
        }
        let paused = summary(&event("Pending", None), &[], true, now());
        assert!(paused.next.contains("paused"), "{paused:?}");
    }
}
