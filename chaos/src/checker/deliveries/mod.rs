//! Checks of what receivers got.

mod content;
pub(super) use content::authenticate;
mod limits;

use uuid::Uuid;

use super::index::{EventRecord, Index};
use super::{Invariant, TIMING_SLACK, Violations};
use crate::history::{Behaviour, Fact, Request, RequestEnd, RunTime};

/// Delivery that repeated one which the receiver had answered with success.
pub(super) struct Duplicate {
    /// When the repeated request began.
    pub(super) began: RunTime,
}

/// Checks all requests. Returns the duplicates.
pub(super) fn check(index: &Index<'_>, violations: &mut Violations) -> Vec<Duplicate> {
    let mut duplicates = Vec::new();
    for (id, event) in &index.events {
        check_delivered(index, *id, event, violations);
        check_announced(*id, event, violations);
        check_not_late(*id, event, violations);
        check_overlap(index, *id, event, violations);
        check_duplicates(*id, event, &mut duplicates, violations);
        for request in &event.requests {
            content::check(index, event, request, violations);
        }
    }
    limits::check(index, violations);
    duplicates
}

/// An event ends as `Succeeded` only if a receiver said so, and for a healthy destination in no other way.
fn check_delivered(index: &Index<'_>, id: Uuid, event: &EventRecord<'_>, violations: &mut Violations) {
    let Some(status) = event.final_status() else { return };
    let succeeded = |request: &&Request| matches!(request.end, RequestEnd::Answered(200..=299));
    if status == "Succeeded" && event.requests.iter().copied().find(succeeded).is_none() {
        let text = "the event is recorded as delivered, and no request was answered with success".to_owned();
        violations.of_event(Invariant::Delivered, id, text);
    }
    let destination = event.acceptance().and_then(|fact| fact.field("destinationId").as_str());
    let healthy = index
        .history
        .destinations
        .iter()
        .any(|known| known.behaviour == Behaviour::Healthy && destination == Some(&known.id.to_string()));
    if healthy && status != "Succeeded" {
        let text = format!("the event for a healthy destination ended as {status}");
        violations.of_event(Invariant::Delivered, id, text);
    }
}

/// Each request needs a claim of its own: a `DeliveryStarted` of its attempt, recorded before it began.
fn check_announced(id: Uuid, event: &EventRecord<'_>, violations: &mut Violations) {
    for request in &event.requests {
        let attempt = request.attempt;
        let claims = event
            .of_attempt("DeliveryStarted", attempt)
            .filter(|fact| fact.recorded <= request.began + TIMING_SLACK)
            .count();
        let requests = event
            .requests
            .iter()
            .filter(|other| other.attempt == attempt && other.began <= request.began)
            .count();
        if requests > claims {
            let text = format!("{requests} requests of attempt {attempt}, which was claimed {claims} times");
            violations.of_event(Invariant::Announced, id, text);
        }
    }
}

/// No request begins after the outcome of its attempt was recorded.
fn check_not_late(id: Uuid, event: &EventRecord<'_>, violations: &mut Violations) {
    for request in event.requests.iter().filter(|request| !event.lost_attempt(request.attempt)) {
        let outcome = event.of_attempt("DeliveryAttempted", request.attempt).next();
        if let Some(outcome) = outcome.filter(|fact| request.began > fact.recorded + TIMING_SLACK) {
            let text = format!(
                "the request of attempt {} began {:.3} s after its outcome {} was recorded",
                request.attempt,
                (request.began - outcome.recorded).as_secs_f64(),
                outcome.outcome().unwrap_or_default()
            );
            violations.of_event(Invariant::NotLate, id, text);
        }
    }
}

fn check_overlap(index: &Index<'_>, id: Uuid, event: &EventRecord<'_>, violations: &mut Violations) {
    for (first, second) in event.requests.iter().zip(event.requests.iter().skip(1)) {
        let ended = limits::permit_end(first, index.history.delivery_timeout);
        if second.began < ended && !event.lost_attempt(first.attempt) {
            let text = format!(
                "attempt {} began {:.3} s before attempt {} ended",
                second.attempt,
                (ended - second.began).as_secs_f64(),
                first.attempt
            );
            violations.of_event(Invariant::NoOverlap, id, text);
        }
    }
}

/// A success that the receiver answered may be repeated only if its outcome could not be recorded.
fn check_duplicates(
    id: Uuid,
    event: &EventRecord<'_>,
    duplicates: &mut Vec<Duplicate>,
    violations: &mut Violations,
) {
    for (first, second) in event.requests.iter().zip(event.requests.iter().skip(1)) {
        if !matches!(first.end, RequestEnd::Answered(200..=299)) {
            continue;
        }
        duplicates.push(Duplicate { began: second.began });
        if !is_explained(event, first) {
            let outcome = event.of_attempt("DeliveryAttempted", first.attempt).next();
            let outcome = outcome.and_then(|fact| fact.outcome()).unwrap_or("no outcome");
            let text = format!(
                "attempt {} was answered with success, the log has {outcome}, and attempt {} followed",
                first.attempt, second.attempt
            );
            violations.of_event(Invariant::DuplicateExplained, id, text);
        }
    }
}

fn is_explained(event: &EventRecord<'_>, first: &Request) -> bool {
    // A worker that was paused during the attempt finds its time limit over before it reads the answer.
    let unheard = |fact: &Fact| matches!(fact.outcome(), Some("unknown" | "timeout"));
    event.lost_attempt(first.attempt) || event.of_attempt("DeliveryAttempted", first.attempt).any(unheard)
}
