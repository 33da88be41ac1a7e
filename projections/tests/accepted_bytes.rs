use aggregates::ids::{TenantId, WebhookEventId};
use aggregates::webhook_event::{MappingResult, WebhookEventFact};
use aggregates_testing::{accepted, commitment};
use projections::{Projection, accepted_bytes};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, apply, at, id};

fn event(number: u128) -> WebhookEventId {
    id(number)
}

/// An event with so many bytes to deliver, and what its mapping did.
fn sent(tenant: TenantId, bytes: u64, mapping: Option<MappingResult>) -> WebhookEventFact {
    let accepted = accepted().tenant(tenant).destination(id(10)).payload(commitment("00", bytes)).at(at(0));
    match mapping {
        Some(mapping) => accepted.mapping(mapping).fact(),
        None => accepted.fact(),
    }
}

/// Returns which tenants have so many bytes in storage.
async fn with(pool: &PgPool, bytes: u64) -> Vec<TenantId> {
    let mut connection = pool.acquire().await.unwrap();
    let mut tenants = accepted_bytes::tenants_with_stored(&mut connection, bytes).await.unwrap();
    tenants.sort_unstable();
    tenants
}

#[sqlx::test(migrations = "../migrations")]
async fn every_payload_in_storage_is_counted_once(pool: PgPool) {
    let log = Log::default()
        .with(ACME, event(1), sent(ACME, 100, None))
        .with(ACME, event(2), sent(ACME, 20, Some(MappingResult::Applied(commitment("11", 3)))))
        .with(RIVAL, event(3), sent(RIVAL, 50, Some(MappingResult::Failed("no field".to_owned()))))
        .with(ACME, event(4), sent(ACME, 1_000, None));
    apply(&pool, Projection::AcceptedBytes, &log.facts[..3]).await;
    assert_eq!(with(&pool, 123).await, [ACME]);
    assert_eq!(with(&pool, 124).await, []);
    assert_eq!(with(&pool, 50).await.len(), 2);
    assert_eq!(with(&pool, 51).await, [ACME]);

    // Repeated facts change nothing, alone or together with new ones.
    apply(&pool, Projection::AcceptedBytes, &log.facts[1..3]).await;
    assert_eq!(with(&pool, 124).await, []);
    for facts in [&log.facts[..], &log.facts[2..]] {
        apply(&pool, Projection::AcceptedBytes, facts).await;
        assert_eq!(with(&pool, 1_123).await, [ACME]);
        assert_eq!(with(&pool, 1_124).await, []);
    }
}
