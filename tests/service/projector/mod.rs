//! The projector on a real log: waiting for read models, facts that do not apply, projections at different positions,
//! and changes of the lead.

mod halting;
mod leadership;
mod lost_tail;
mod positions;
mod waiting;

use aggregates::ids::{TenantId, UserId};
use aggregates::role::Role;
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::user::{User, UserCommand};
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use hooksentry::projector::ProjectorHealth;
use projections::{LogPosition, Projection, checkpoints, tenants, users};
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;

impl Fixture {
    async fn register_tenant(&self, number: u128) -> (TenantId, LogPosition) {
        let id = TenantId(Uuid::from_u128(number));
        let command = TenantCommand::Register {
            name: format!("Tenant {number}"),
            owner: UserId(Uuid::from_u128(number)),
            resilience: Resilience::default(),
            retention: Retention::default(),
            webhook_secret: WebhookSecret {
                sealed: Sealed { data_key: Uuid::from_u128(1), ciphertext: String::new() },
                fingerprint: Fingerprint(String::new()),
            },
            at: clock::now(),
        };
        let executed = self
            .store
            .execute::<Tenant>(id.0, command, &Metadata::of_role(id, "test"))
            .await
            .expect("a tenant");
        (id, executed.position.expect("a fact"))
    }

    async fn register_user(&self, number: u128) -> (UserId, LogPosition) {
        let tenant_id = TenantId(Uuid::from_u128(1));
        let id = UserId(Uuid::from_u128(number));
        let command = UserCommand::Register {
            tenant_id,
            email_hmac_sha256: "hmac".to_owned(),
            role: Role::Viewer,
            at: clock::now(),
        };
        let executed = self
            .store
            .execute::<User>(id.0, command, &Metadata::of_role(tenant_id, "test"))
            .await
            .expect("a user");
        (id, executed.position.expect("a fact"))
    }

    async fn tenant_is_shown(&self, id: TenantId) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        tenants::exists(&mut connection, id).await.expect("an answer")
    }

    async fn user_is_shown(&self, id: UserId) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        users::owner_of(&mut connection, id).await.expect("an answer").is_some()
    }

    /// Returns the projections that have halted, and why.
    async fn halted(&self) -> Vec<(Projection, String)> {
        let health = ProjectorHealth::new(self.pool.clone()).look().await.expect("an answer");
        let because = |because: &Option<String>| because.clone().unwrap_or_default();
        health.halted().map(|halted| (halted.projection, because(&halted.halted_because))).collect()
    }

    /// Whether the read model `users` shows the fact at this position.
    async fn users_reached(&self, position: LogPosition) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        checkpoints::have_reached(&mut connection, &[Projection::Users.name()], position)
            .await
            .expect("an answer")
    }
}
