//! The lives of webhooks, drawn from a mix such as a service in good health has.
//!
//! What happens to a webhook depends on its number alone, so two loadings of the same size differ in
//! nothing but ids and times.

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::{DestinationId, SenderId, TenantId, WebhookEventId};
use aggregates::webhook_event::{Acceptance, PayloadDigest, WebhookEventFact};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// Attempts of a webhook that is given up.
const ATTEMPTS_UNTIL_GIVEN_UP: u32 = 3;

/// A tenant, and where its webhooks come from and go to.
#[derive(Clone, Debug)]
pub(super) struct TenantFixture {
    pub(super) tenant_id: TenantId,
    pub(super) destinations: Vec<DestinationId>,
    /// Of the first destination.
    pub(super) senders: Vec<SenderId>,
}

/// A webhook: all that happened to it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) id: WebhookEventId,
    pub(super) tenant_id: TenantId,
    pub(super) facts: Vec<WebhookEventFact>,
    pub(super) payload: Vec<u8>,
}

/// How a webhook's life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventScript {
    Pending,
    WaitingRetry,
    CriticalFailure,
    Cancelled,
    /// After so many failures.
    Succeeded(u32),
}

impl EventScript {
    fn of(permille: u32) -> Self {
        match permille {
            0..=4 => Self::Pending,
            5..=14 => Self::WaitingRetry,
            15..=34 => Self::CriticalFailure,
            35..=39 => Self::Cancelled,
            40..=79 => Self::Succeeded(1),
            80..=89 => Self::Succeeded(2),
            _ => Self::Succeeded(0),
        }
    }
}

/// The webhook of this number, accepted at `at` by one of `household`'s destinations.
pub(super) fn live(household: &TenantFixture, number: u64, at: DateTime<Utc>) -> Life {
    let mut rng = StdRng::seed_from_u64(number);
    // Some destinations are busier than others.
    let share: f64 = rng.random();
    let count = household.destinations.len();
    let destination = ((share * share * count as f64) as usize).min(count - 1);
    let destination_id = household.destinations[destination];
    let senders = if destination == 0 { household.senders.as_slice() } else { &[] };
    let sender_id = (!senders.is_empty()).then(|| senders[rng.random_range(0..senders.len())]);
    let idempotency_key = rng.random_bool(0.1).then(|| format!("order-{number:012}"));
    let id = match &idempotency_key {
        Some(key) => WebhookEventId::for_idempotency_key(household.tenant_id, key),
        None => {
            let random: [u8; 10] = rng.random();
            let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or_default();
            WebhookEventId(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
        }
    };
    let payload = payload(number, &mut rng);
    let acceptance = Acceptance {
        tenant_id: household.tenant_id,
        destination_id,
        sender_id,
        idempotency_key,
        payload: PayloadDigest { sha256: hex::encode(Sha256::digest(&payload)), bytes: payload.len() as u64 },
        mapping: None,
        at,
    };
    let course = EventScript::of(rng.random_range(0..1_000));
    let facts = facts(acceptance, course, &mut rng);
    Life { id, tenant_id: household.tenant_id, facts, payload }
}

fn payload(number: u64, rng: &mut StdRng) -> Vec<u8> {
    let customer: u32 = rng.random_range(0..100_000);
    let cents: u32 = rng.random_range(100..1_000_000);
    format!(
        r#"{{"type":"order.updated","order":{number},"customer":"cus_{customer:06}","amount":{cents},"note":"a webhook of no importance"}}"#
    )
    .into_bytes()
}

fn facts(acceptance: Acceptance, course: EventScript, rng: &mut StdRng) -> Vec<WebhookEventFact> {
    let (destination_id, mut now) = (acceptance.destination_id, acceptance.at);
    let mut facts = vec![WebhookEventFact::EventAccepted(acceptance)];
    let (failures, succeeds) = match course {
        EventScript::Pending | EventScript::Cancelled => (0, false),
        EventScript::WaitingRetry => (1, false),
        EventScript::CriticalFailure => (ATTEMPTS_UNTIL_GIVEN_UP, false),
        EventScript::Succeeded(failures) => (failures, true),
    };
    for attempt in 1..=failures + u32::from(succeeds) {
        let fails = attempt <= failures;
        now += TimeDelta::milliseconds(rng.random_range(2..20));
        facts.push(WebhookEventFact::DeliveryStarted {
            destination_id,
            attempt,
            worker: "bench-worker".to_owned(),
            destination_version: 2,
            tenant_version: 1,
            at: now,
        });
        let duration_ms = rng.random_range(10..400);
        now += TimeDelta::milliseconds(duration_ms);
        let outcome = if fails { Outcome::RefusedStatus } else { Outcome::Succeeded };
        let mut report = AttemptReport::without_answer(outcome, duration_ms.unsigned_abs(), None);
        report.status = Some(if fails { 503 } else { 200 });
        let failed_attempts = attempt.min(failures);
        facts.push(WebhookEventFact::DeliveryAttempted {
            destination_id,
            attempt,
            failed_attempts,
            unknown_in_a_row: 0,
            report,
            at: now,
        });
        if fails && (attempt < failures || course != EventScript::CriticalFailure) {
            let retry_at = match course {
                // It waits when it is looked at, whenever that is.
                EventScript::WaitingRetry => now + TimeDelta::days(3_650),
                _ => now + TimeDelta::seconds(rng.random_range(20..40)),
            };
            facts.push(WebhookEventFact::RetryScheduled {
                destination_id,
                failed_attempts,
                retry_at,
                at: now,
            });
            now = if course == EventScript::WaitingRetry { now } else { retry_at };
        }
    }
    match course {
        EventScript::CriticalFailure => {
            facts.push(WebhookEventFact::CriticalFailure {
                destination_id,
                failed_attempts: failures,
                at: now,
            });
        }
        EventScript::Cancelled => facts.push(WebhookEventFact::Cancelled {
            destination_id,
            reason: "the queue was purged".to_owned(),
            at: now + TimeDelta::minutes(5),
        }),
        EventScript::Pending | EventScript::WaitingRetry | EventScript::Succeeded(_) => {}
    }
    facts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aggregates::webhook_event::WebhookEvent;
    use cqrs_es::Aggregate;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_course_is_a_life_that_the_domain_knows() {
        let household = TenantFixture {
            tenant_id: TenantId(Uuid::from_u128(1)),
            destinations: (10..60).map(|id| DestinationId(Uuid::from_u128(id))).collect(),
            senders: vec![SenderId(Uuid::from_u128(5))],
        };
        let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
        for number in 0..10_000 {
            let life = live(&household, number, at);
            let mut event = WebhookEvent::default();
            for fact in life.facts {
                event.apply(fact);
            }
            let end = match event {
                WebhookEvent::Waiting(_) => "waiting",
                WebhookEvent::Succeeded(_) => "succeeded",
                WebhookEvent::CriticalFailure(_) => "given up",
                WebhookEvent::Cancelled(_) => "cancelled",
                other => panic!("{other:?}"),
            };
            *ends.entry(end).or_default() += 1;
        }
        assert!(ends["succeeded"] > 9_000, "{ends:?}");
        assert_eq!(ends.len(), 4, "{ends:?}");
    }
}
