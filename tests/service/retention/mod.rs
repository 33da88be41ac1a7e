//! Retention, step by step, on a real log.

mod events;
mod exclusion;
mod holds;
mod payloads;

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, TenantId, UserId, WebhookEventId};
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use aggregates_testing::{accepted, attempted, commitment, started};
use chrono::TimeDelta;
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use hooksentry::projector::{Removed, Term};
use projections::accepted_bytes;
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;

const ACME: TenantId = TenantId(Uuid::from_u128(0xacae));
const DESTINATION: DestinationId = DestinationId(Uuid::from_u128(0xd));

/// A log with the tenant [`ACME`].
async fn tenant_with(retention: Retention) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.register_with(ACME, retention).await;
    fixture
}

impl Fixture {
    async fn register_with(&self, id: TenantId, retention: Retention) {
        let register = TenantCommand::Register {
            name: "Acme".to_owned(),
            owner: UserId(id.0),
            resilience: Resilience::default(),
            retention,
            webhook_secret: WebhookSecret {
                sealed: Sealed { data_key: Uuid::from_u128(1), ciphertext: String::new() },
                fingerprint: Fingerprint(String::new()),
            },
            at: clock::now(),
        };
        self.store.execute::<Tenant>(id.0, register, &Metadata::of_role(id, "test")).await.expect("a tenant");
    }

    /// Accepts an event `days_ago`, with a payload of so many bytes.
    async fn accept_of(&self, tenant_id: TenantId, days_ago: i64, bytes: usize) -> WebhookEventId {
        let number = self.next_number();
        let id = WebhookEventId(Uuid::from_u128(u128::from(number)));
        let later = TimeDelta::milliseconds(i64::try_from(number).expect("a small number"));
        let accept = accepted()
            .tenant(tenant_id)
            .destination(DESTINATION)
            .payload(commitment("00", bytes as u64))
            .at(clock::now() - TimeDelta::days(days_ago) + later);
        self.command(tenant_id, id, accept.command()).await;
        sqlx::query("INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, $3)")
            .bind(id.0)
            .bind(tenant_id.0)
            .bind(vec![b' '; bytes])
            .execute(&self.pool)
            .await
            .expect("a payload");
        id
    }

    async fn accept(&self, days_ago: i64) -> WebhookEventId {
        self.accept_of(ACME, days_ago, 2).await
    }

    async fn command(&self, tenant_id: TenantId, id: WebhookEventId, command: WebhookEventCommand) {
        let metadata = Metadata::of_role(tenant_id, "test");
        self.store.execute::<WebhookEvent>(id.0, command, &metadata).await.expect("it is done");
    }

    /// Makes the only attempt of an event.
    async fn attempt(&self, id: WebhookEventId, outcome: Outcome) {
        self.command(ACME, id, started().at(clock::now()).command()).await;
        let end = attempted().outcome(outcome).max_attempts(1).at(clock::now());
        self.command(ACME, id, end.command()).await;
    }

    async fn cancelled(&self, days_ago: i64) -> WebhookEventId {
        let id = self.accept(days_ago).await;
        self.cancel(id).await;
        id
    }

    async fn cancel(&self, id: WebhookEventId) {
        let cancel = WebhookEventCommand::Cancel { reason: "a test".to_owned(), at: clock::now() };
        self.command(ACME, id, cancel).await;
    }

    async fn ids(&self, statement: &'static str) -> Vec<WebhookEventId> {
        let ids: Vec<Uuid> = sqlx::query_scalar(statement).fetch_all(&self.pool).await.expect("ids");
        ids.into_iter().map(WebhookEventId).collect()
    }

    async fn payloads(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM payloads ORDER BY event_id").await
    }

    async fn events_shown(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT id FROM webhook_events ORDER BY id").await
    }

    async fn attempted(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM delivery_attempts ORDER BY event_id").await
    }

    async fn exceptions(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM retention_exceptions ORDER BY event_id").await
    }

    /// Returns whether [`ACME`] has so many bytes of payloads in storage, as far as its limit is concerned.
    async fn has_stored(&self, bytes: u64) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        let tenants = accepted_bytes::tenants_with_stored(&mut connection, bytes).await.expect("an answer");
        tenants.contains(&ACME)
    }

    /// Folds everything that is committed and runs a whole pass. Returns its steps that removed something.
    async fn pass(&self, term: &mut Term) -> Vec<Removed> {
        self.catch_up(term).await;
        let mut steps = vec![];
        loop {
            let removed = term.remove_expired(clock::now()).await.expect("a step");
            steps.push(removed);
            if !removed.more {
                steps.retain(|step| step.payloads + step.events + step.attempts > 0);
                return steps;
            }
        }
    }
}

fn days(payload_days: impl Into<Option<u32>>, event_days: impl Into<Option<u32>>) -> Retention {
    Retention { payload_days: payload_days.into(), event_days: event_days.into() }
}
