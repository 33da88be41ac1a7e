//! `/events/{id}?view=past`: an event as it was after each of its facts.
//!
//! The API folds the facts: it returns the event as of a time. Facts that were appended together, as the end of an
//! attempt and what follows from it, are one step, and so are those with the same time.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::api::events::{Event, Fact};
use crate::api::problem::ApiError;
use crate::session::viewer::Viewer;
use crate::text::times::Moment;
use crate::web::query::url;
use crate::words::{self, StatusWords};

/// An event after one step of its history.
pub(super) struct Past {
    /// Number of the step, from 1.
    pub(super) step: usize,
    pub(super) steps: usize,
    /// Whether the URL has a step. The slider then has the focus, so that the next key goes on from there.
    pub(super) is_chosen: bool,
    /// URLs of the steps next to it.
    pub(super) earlier: Option<String>,
    pub(super) later: Option<String>,
    pub(super) time: Moment,
    /// The same with its milliseconds.
    pub(super) exact: String,
    /// What was recorded, as sentences.
    pub(super) facts: Vec<PastFact>,
    pub(super) status: StatusWords,
    pub(super) state: Vec<StateRow>,
    /// Facts before the first step.
    pub(super) earlier_facts: usize,
}

pub(super) struct PastFact {
    pub(super) version: u64,
    pub(super) words: &'static str,
    pub(super) name: String,
}

/// A value of the event's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateRow {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// Value after the step before; `None`: the same, or there is none.
    pub(super) before: Option<String>,
}

impl Past {
    /// Reads an event as it was after a step, the last one unless the URL has one. `facts` are in order, and the latest of
    /// `total`. `None`: there are none.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub(super) async fn read(
        viewer: &Viewer,
        id: Uuid,
        facts: &[Fact],
        total: usize,
        wanted: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, ApiError> {
        let steps = steps(facts);
        let Some(at) = chosen(wanted, steps.len()) else { return Ok(None) };
        let time = steps[at].time;
        let event = viewer.api.event_as_of(id, time).await?;
        let before = match at.checked_sub(1) {
            Some(before) => Some(viewer.api.event_as_of(id, steps[before].time).await?),
            None => None,
        };
        let path = format!("/events/{id}");
        let url_of = |at: usize| url(&path, &[("view", Some("past")), ("step", Some(&(at + 1).to_string()))]);
        Ok(Some(Self {
            step: at + 1,
            steps: steps.len(),
            is_chosen: wanted.is_some(),
            earlier: at.checked_sub(1).map(url_of),
            later: (at + 1 < steps.len()).then(|| url_of(at + 1)),
            time: Moment::of(time, now),
            exact: exact(time),
            facts: steps[at].facts.iter().map(PastFact::of).collect(),
            status: StatusWords::of_event(&event.status),
            state: state(&event, before.as_ref()),
            earlier_facts: total.saturating_sub(facts.len()),
        }))
    }
}

impl PastFact {
    fn of(fact: &Fact) -> Self {
        let words = words::fact(&fact.name).unwrap_or_default();
        Self { version: fact.version, words, name: fact.name.clone() }
    }
}

/// Facts after which an event is shown.
struct Step<'a> {
    facts: &'a [Fact],
    /// Time of the last one.
    time: DateTime<Utc>,
}

fn steps(facts: &[Fact]) -> Vec<Step<'_>> {
    let is_one = |one: &Fact, next: &Fact| {
        one.position.transaction_id == next.position.transaction_id || one.time == next.time
    };
    facts.chunk_by(is_one).filter_map(|facts| Some(Step { facts, time: facts.last()?.time })).collect()
}

/// Returns the place of a step from its number in the URL; the last one unless there is such a step.
fn chosen(wanted: Option<&str>, steps: usize) -> Option<usize> {
    let last = steps.checked_sub(1)?;
    let wanted =
        wanted.and_then(|number| number.parse::<usize>().ok()).and_then(|number| number.checked_sub(1));
    Some(wanted.map_or(last, |at| at.min(last)))
}

/// Returns the values of an event, each with that of the step before if it was another.
fn state(event: &Event, before: Option<&Event>) -> Vec<StateRow> {
    let before = before.map(values);
    let rows = values(event).into_iter().enumerate().map(|(at, (label, value))| {
        let before = before.as_ref().map(|values| values[at].1.clone()).filter(|before| *before != value);
        StateRow { label, value, before }
    });
    rows.collect()
}

fn exact(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

fn values(event: &Event) -> [(&'static str, String); 5] {
    let time = |time: Option<DateTime<Utc>>| time.map_or_else(|| "none".to_owned(), exact);
    let last = event.last_outcome.as_deref().map_or_else(
        || "none has ended".to_owned(),
        |code| {
            let label = words::outcome(code).map_or(code, |words| words.label);
            event.last_http_status.map_or_else(|| label.to_owned(), |status| format!("{label} {status}"))
        },
    );
    [
        ("Status", StatusWords::of_event(&event.status).label.to_owned()),
        ("Failed attempts", event.failed_attempts.to_string()),
        ("Last attempt", last),
        ("Next attempt", time(event.next_attempt_at)),
        ("Delivered", time(event.delivered_at)),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fact(version: u64, transaction: u64, millisecond: u32) -> Fact {
        serde_json::from_value(json!({
            "position": { "transactionId": transaction, "position": version }, "version": version, "time": format!("2026-07-03T14:32:00.{millisecond:03}Z"), "type": "Replayed",
            "data": {}, "actor": null, "requestId": null,
        }))
        .unwrap()
    }

    fn event(status: &str, outcome: Option<&str>) -> Event {
        serde_json::from_value(json!({
            "id": "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a",
            "destinationUrlId": "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1b",
            "payload": null, "erasure": null, "status": status, "idempotencyKey": null, "currentRetryCount": 1,
            "nextAttemptAt": null, "acceptedAt": "2026-07-03T14:32:00Z", "deliveredAt": null,
            "lastOutcome": outcome, "lastHttpStatus": outcome.map(|_| 503),
        }))
        .unwrap()
    }

    #[test]
    fn facts_that_were_appended_together_are_one_step() {
        let facts = [fact(1, 7, 0), fact(2, 8, 5), fact(3, 8, 6), fact(4, 9, 6), fact(5, 10, 9)];
        let steps = steps(&facts);
        let versions: Vec<Vec<u64>> =
            steps.iter().map(|step| step.facts.iter().map(|fact| fact.version).collect()).collect();
        assert_eq!(versions, [vec![1], vec![2, 3, 4], vec![5]]);
        assert_eq!(steps[1].time, facts[3].time);
    }

    #[test]
    fn a_url_without_a_step_means_the_last_one() {
        for (wanted, at) in [
            (None, Some(2)),
            (Some("1"), Some(0)),
            (Some("3"), Some(2)),
            (Some("0"), Some(2)),
            (Some("99"), Some(2)),
            (Some("-1"), Some(2)),
            (Some("x"), Some(2)),
        ] {
            assert_eq!(chosen(wanted, 3), at, "{wanted:?}");
        }
        assert_eq!(chosen(Some("1"), 0), None);
    }

    #[test]
    fn what_a_step_changed_has_the_value_before() {
        let rows = state(&event("WaitingRetry", Some("refused_status")), Some(&event("Processing", None)));
        let changed: Vec<_> = rows.iter().filter(|row| row.before.is_some()).collect();
        assert_eq!(changed.len(), 2, "{rows:?}");
        assert_eq!((changed[0].value.as_str(), changed[0].before.as_deref()), ("Retrying", Some("Sending")));
        assert_eq!(
            (changed[1].value.as_str(), changed[1].before.as_deref()),
            ("Refused 503", Some("none has ended"))
        );
        assert!(state(&event("Pending", None), None).iter().all(|row| row.before.is_none()));
    }
}
