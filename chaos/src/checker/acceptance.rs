//! Checks of what clients were told.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::index::{Index, accepted_in};
use super::{Invariant, Violations};
use crate::checker::deliveries::authenticate;
use crate::history::{Answer, AnswerResult, Behaviour, Fact, Sent};

/// Checks the answers of ingest against the log. Returns the number of events answered with 202 that were
/// lost with a primary.
pub(super) fn check(index: &Index<'_>, violations: &mut Violations) -> usize {
    let mut lost_by_standby = 0;
    let mut sent_of_event: HashMap<Uuid, usize> = HashMap::new();
    for (number, sent) in index.history.sent.iter().enumerate() {
        check_answers(index, sent, violations);
        let accepted = accepted_ids(sent);
        for id in &accepted {
            if let Some(other) = sent_of_event.insert(*id, number).filter(|other| *other != number) {
                let text = format!("two webhooks, {other} and {number}, were answered with the same event");
                violations.of_event(Invariant::AcceptedOnce, *id, text);
            }
            lost_by_standby += usize::from(is_lost(index, *id, violations));
        }
        let kept = accepted.iter().filter(|id| index.events.get(id).is_some_and(|event| event.is_accepted()));
        if kept.count() > 1 {
            let text = format!("webhook {number} was answered with different events: {accepted:?}");
            violations.add(Invariant::AcceptedOnce, text);
        }
    }
    check_logged(index, violations);
    lost_by_standby
}

fn accepted_ids(sent: &Sent) -> BTreeSet<Uuid> {
    let accepted = sent.answers.iter().filter_map(|answer| match answer.result {
        AnswerResult::Accepted(id) => Some(id),
        AnswerResult::Refused(_) | AnswerResult::Missing => None,
    });
    accepted.collect()
}

/// Returns whether an event that was answered with 202 is lost by design. One that is lost without a standby
/// that explains it is a violation.
fn is_lost(index: &Index<'_>, id: Uuid, violations: &mut Violations) -> bool {
    let event = index.events.get(&id);
    if event.is_some_and(|event| event.is_accepted()) {
        return false;
    }
    let explained = event.is_some_and(|event| accepted_in(&event.lost_facts).is_some());
    if !explained {
        let text = "the event was answered with 202 and is not in the log".to_owned();
        violations.of_event(Invariant::NoneLost, id, text);
    }
    explained
}

fn check_answers(index: &Index<'_>, sent: &Sent, violations: &mut Violations) {
    let destination = &index.history.destinations[sent.destination];
    let is_expected = |answer: &Answer| match answer.result {
        AnswerResult::Accepted(_) | AnswerResult::Missing => true,
        // The service cannot accept it now, and says so.
        AnswerResult::Refused(503 | 429) => true,
        // The destination is suspended.
        AnswerResult::Refused(422) => destination.behaviour != Behaviour::Healthy,
        AnswerResult::Refused(_) => false,
    };
    for answer in sent.answers.iter().filter(|answer| !is_expected(answer)) {
        let text = format!(
            "at {:.3} s ingest answered {:?} for a {:?} destination",
            answer.ended.as_secs_f64(),
            answer.result,
            destination.behaviour
        );
        violations.add(Invariant::AnswerExpected, text);
    }
}

/// Whether the fact commits to this payload, with the salt that is stored.
fn is_committed_to(accepted: &Fact, payload: &[u8]) -> bool {
    let commitment =
        accepted.stored.as_ref().map(|stored| hex::encode(authenticate(&stored.salt, &[payload])));
    commitment.is_some() && accepted.field("payload")["hmacSha256"].as_str() == commitment.as_deref()
}

/// Checks that every accepted event in the log is one that a client sent, to that destination, and that none
/// was accepted twice.
fn check_logged(index: &Index<'_>, violations: &mut Violations) {
    let mut event_of_sent: HashMap<usize, Uuid> = HashMap::new();
    for (id, event) in &index.events {
        let Some(accepted) = event.acceptance() else { continue };
        let digest = accepted.payload_digest().unwrap_or_default();
        let Some(number) = index.sent_by_digest.get(digest) else {
            let text = "the log has an event with a payload that no client sent".to_owned();
            violations.of_event(Invariant::BytesKept, *id, text);
            continue;
        };
        let sent = &index.history.sent[*number];
        if !is_committed_to(accepted, &sent.payload) {
            let text = "the log has a commitment to another payload".to_owned();
            violations.of_event(Invariant::BytesKept, *id, text);
        }
        let destination = &index.history.destinations[sent.destination];
        if accepted.field("destinationId").as_str() != Some(&destination.id.to_string()) {
            let text = "the log has the event with another destination".to_owned();
            violations.of_event(Invariant::BytesKept, *id, text);
        }
        if let Some(other) = event_of_sent.insert(*number, *id) {
            let text = format!("webhook {number} was accepted twice, also as {other}");
            violations.of_event(Invariant::AcceptedOnce, *id, text);
        }
    }
}
