//! Generator of webhook events with all their facts, in the mix of a healthy service.
//!
//! The facts of an event depend on its number alone, so two histories of the same size differ only in ids and
//! times.

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::{DestinationId, SenderId, TenantId, WebhookEventId};
use aggregates::webhook_event::{Acceptance, PayloadCommitment, WebhookEventFact};
use chrono::{DateTime, TimeDelta, Utc};
use evidence::leaf::Salt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Attempts of an event that fails for good.
const ATTEMPTS_MAX: u32 = 3;

/// Ids of a tenant, its destinations and its senders.
#[derive(Clone, Debug)]
pub(super) struct TenantIds {
    pub(super) tenant_id: TenantId,
    pub(super) destinations: Vec<DestinationId>,
    /// Senders of the first destination.
    pub(super) senders: Vec<SenderId>,
}

/// Webhook event with all its facts.
#[derive(Clone, Debug)]
pub(super) struct GeneratedEvent {
    pub(super) id: WebhookEventId,
    pub(super) tenant_id: TenantId,
    pub(super) facts: Vec<WebhookEventFact>,
    pub(super) payload: Vec<u8>,
    pub(super) salt: [u8; 32],
    pub(super) idempotency_key: Option<String>,
}

/// Course of an event's delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Pending,
    WaitingRetry,
    CriticalFailure,
    Cancelled,
    /// Succeeded after this many failed attempts.
    Succeeded(u32),
}

impl Scenario {
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

/// Generates the event with this number, accepted at `at` for one of the tenant's destinations.
pub(super) fn generate(tenant: &TenantIds, number: u64, at: DateTime<Utc>) -> GeneratedEvent {
    let mut rng = StdRng::seed_from_u64(number);
    // Destinations receive different shares of the events.
    let share: f64 = rng.random();
    let count = tenant.destinations.len();
    let destination = ((share * share * count as f64) as usize).min(count - 1);
    let destination_id = tenant.destinations[destination];
    let senders = if destination == 0 { tenant.senders.as_slice() } else { &[] };
    let sender_id = (!senders.is_empty()).then(|| senders[rng.random_range(0..senders.len())]);
    let idempotency_key = rng.random_bool(0.1).then(|| format!("order-{number:012}"));
    let id = match &idempotency_key {
        // The id follows from a secret of the tenant: to the indexes it is random.
        Some(_) => WebhookEventId(uuid::Builder::from_custom_bytes(rng.random()).into_uuid()),
        None => {
            let random: [u8; 10] = rng.random();
            let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or_default();
            WebhookEventId(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
        }
    };
    let payload = payload(number, &mut rng);
    let salt: [u8; 32] = rng.random();
    let commitment =
        PayloadCommitment { hmac_sha256: Some(commitment_to(&payload, &salt)), bytes: payload.len() as u64 };
    let acceptance = Acceptance {
        tenant_id: tenant.tenant_id,
        destination_id,
        sender_id,
        payload: commitment,
        mapping: None,
        at,
    };
    let scenario = Scenario::of(rng.random_range(0..1_000));
    let facts = facts(acceptance, scenario, &mut rng);
    GeneratedEvent { id, tenant_id: tenant.tenant_id, facts, payload, salt, idempotency_key }
}

fn commitment_to(payload: &[u8], salt: &[u8; 32]) -> String {
    hex::encode(Salt::from_bytes(*salt).commit(payload).as_bytes())
}

fn payload(number: u64, rng: &mut StdRng) -> Vec<u8> {
    let customer: u32 = rng.random_range(0..100_000);
    let cents: u32 = rng.random_range(100..1_000_000);
    format!(
        r#"{{"type":"order.updated","order":{number},"customer":"cus_{customer:06}","amount":{cents},"note":"a generated webhook"}}"#
    )
    .into_bytes()
}

fn facts(acceptance: Acceptance, scenario: Scenario, rng: &mut StdRng) -> Vec<WebhookEventFact> {
    let (destination_id, mut now) = (acceptance.destination_id, acceptance.at);
    let mut facts = vec![WebhookEventFact::EventAccepted(acceptance)];
    let (failures, succeeds) = match scenario {
        Scenario::Pending | Scenario::Cancelled => (0, false),
        Scenario::WaitingRetry => (1, false),
        Scenario::CriticalFailure => (ATTEMPTS_MAX, false),
        Scenario::Succeeded(failures) => (failures, true),
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
            timeout_ms: 30_000,
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
        if fails && (attempt < failures || scenario != Scenario::CriticalFailure) {
            let retry_at = match scenario {
                // The retry must still be due in the future when lists are measured.
                Scenario::WaitingRetry => now + TimeDelta::days(3_650),
                _ => now + TimeDelta::seconds(rng.random_range(20..40)),
            };
            facts.push(WebhookEventFact::RetryScheduled {
                destination_id,
                failed_attempts,
                retry_at,
                at: now,
            });
            now = if scenario == Scenario::WaitingRetry { now } else { retry_at };
        }
    }
    facts.extend(final_fact(scenario, destination_id, now));
    facts
}

/// Returns the fact that ends an event without success.
fn final_fact(
    scenario: Scenario,
    destination_id: DestinationId,
    now: DateTime<Utc>,
) -> Option<WebhookEventFact> {
    match scenario {
        Scenario::CriticalFailure => {
            Some(WebhookEventFact::CriticalFailure { destination_id, failed_attempts: ATTEMPTS_MAX, at: now })
        }
        Scenario::Cancelled => Some(WebhookEventFact::Cancelled {
            destination_id,
            reason: "the queue was purged".to_owned(),
            at: now + TimeDelta::minutes(5),
        }),
        Scenario::Pending | Scenario::WaitingRetry | Scenario::Succeeded(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aggregates::webhook_event::WebhookEvent;
    use cqrs_es::Aggregate;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn facts_of_every_scenario_apply_to_the_aggregate() {
        let tenant = TenantIds {
            tenant_id: TenantId(Uuid::from_u128(1)),
            destinations: (10..60).map(|id| DestinationId(Uuid::from_u128(id))).collect(),
            senders: vec![SenderId(Uuid::from_u128(5))],
        };
        let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
        for number in 0..10_000 {
            let generated = generate(&tenant, number, at);
            let mut event = WebhookEvent::default();
            for fact in generated.facts {
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
