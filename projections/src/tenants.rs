//! Tenants: their retry and retention settings, and the secrets that sign their webhooks.

use aggregates::ids::TenantId;
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, TenantFact, WebhookSecret};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::{Stored, sealed};
use crate::fold::StreamRow;
use crate::logged_fact::LoggedFact;
use crate::read_model::{self, read_model};
use crate::tenant_scope::TenantScope;

/// A tenant, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub resilience: Resilience,
    pub retention: Retention,
    pub webhook_secret: WebhookSecret,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A replaced signing secret, which for a while signs in addition to the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    pub secret: WebhookSecret,
    pub signs_until: DateTime<Utc>,
}

/// A tenant with a limited retention of payloads or events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantWithRetention {
    pub id: TenantId,
    pub retention: Retention,
}

read_model! {
    Tenants: table "tenants", facts TenantFact;
    struct Row {
        id: Uuid,
        name: String,
        max_attempts: u32,
        circuit_breaker_timer: u32,
        payload_retention_days: Option<u32>,
        event_retention_days: Option<u32>,
        secret_data_key: Uuid,
        secret_ciphertext: String,
        secret_fingerprint: String,
        previous_secret_data_key: Option<Uuid>,
        previous_secret_ciphertext: Option<String>,
        previous_secret_fingerprint: Option<String>,
        previous_signs_until: Option<DateTime<Utc>>,
        suspended_at: Option<DateTime<Utc>>,
        suspension_reason: Option<String>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        version: i64,
    }
}

impl Row {
    fn replace_secret(&mut self, secret: &WebhookSecret, previous_signs_until: Option<DateTime<Utc>>) {
        let previous_data_key = std::mem::replace(&mut self.secret_data_key, secret.sealed.data_key);
        let previous_ciphertext =
            std::mem::replace(&mut self.secret_ciphertext, secret.sealed.ciphertext.clone());
        let previous_fingerprint =
            std::mem::replace(&mut self.secret_fingerprint, secret.fingerprint.0.clone());
        self.previous_secret_data_key = previous_signs_until.map(|_| previous_data_key);
        self.previous_secret_ciphertext = previous_signs_until.map(|_| previous_ciphertext);
        self.previous_secret_fingerprint = previous_signs_until.map(|_| previous_fingerprint);
        self.previous_signs_until = previous_signs_until;
    }
}

impl StreamRow for Row {
    type Fact = TenantFact;

    fn begin(logged: &LoggedFact, fact: &TenantFact) -> Option<Self> {
        let TenantFact::TenantRegistered { name, resilience, retention, webhook_secret, at, .. } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            name: name.clone(),
            max_attempts: resilience.max_attempts,
            circuit_breaker_timer: resilience.circuit_breaker_timer,
            payload_retention_days: retention.payload_days,
            event_retention_days: retention.event_days,
            secret_data_key: webhook_secret.sealed.data_key,
            secret_ciphertext: webhook_secret.sealed.ciphertext.clone(),
            secret_fingerprint: webhook_secret.fingerprint.0.clone(),
            previous_secret_data_key: None,
            previous_secret_ciphertext: None,
            previous_secret_fingerprint: None,
            previous_signs_until: None,
            suspended_at: None,
            suspension_reason: None,
            created_at: *at,
            updated_at: *at,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &TenantFact) {
        self.updated_at = match fact {
            // The read model of users shows the owners.
            TenantFact::TenantRegistered { .. }
            | TenantFact::OwnerAppointed { .. }
            | TenantFact::OwnerDismissed { .. } => return,
            TenantFact::TenantRenamed { name, at } => {
                self.name.clone_from(name);
                *at
            }
            TenantFact::ResilienceChanged { resilience, at } => {
                self.max_attempts = resilience.max_attempts;
                self.circuit_breaker_timer = resilience.circuit_breaker_timer;
                *at
            }
            TenantFact::RetentionChanged { retention, at } => {
                self.payload_retention_days = retention.payload_days;
                self.event_retention_days = retention.event_days;
                *at
            }
            TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, at } => {
                self.replace_secret(webhook_secret, *previous_signs_until);
                *at
            }
            TenantFact::TenantSuspended { reason, at } => {
                self.suspended_at = Some(*at);
                self.suspension_reason = Some(reason.clone());
                *at
            }
            TenantFact::TenantResumed { at } => {
                self.suspended_at = None;
                self.suspension_reason = None;
                *at
            }
        };
    }
}

impl From<Row> for Tenant {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            name: row.name,
            resilience: Resilience {
                max_attempts: row.max_attempts,
                circuit_breaker_timer: row.circuit_breaker_timer,
            },
            retention: Retention {
                payload_days: row.payload_retention_days,
                event_days: row.event_retention_days,
            },
            webhook_secret: secret(row.secret_data_key, row.secret_ciphertext, row.secret_fingerprint),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Joins the columns of the current secret.
pub(crate) fn secret(data_key: Uuid, ciphertext: String, fingerprint: String) -> WebhookSecret {
    WebhookSecret { sealed: Sealed { data_key, ciphertext }, fingerprint: Fingerprint(fingerprint) }
}

/// Joins the columns of the previous secret, which are all present or all NULL.
pub(crate) fn previous_secret(
    data_key: Option<Uuid>,
    ciphertext: Option<String>,
    fingerprint: Option<String>,
    signs_until: Option<DateTime<Utc>>,
) -> Option<PreviousSecret> {
    let secret =
        WebhookSecret { sealed: sealed(data_key, ciphertext)?, fingerprint: Fingerprint(fingerprint?) };
    Some(PreviousSecret { secret, signs_until: signs_until? })
}

/// Returns whether a tenant exists.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.tenants.exists", level = "debug", skip_all, err(level = "debug"))]
pub async fn exists(connection: &mut PgConnection, id: TenantId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM tenants WHERE id = $1) AS "exists!""#, id.0)
        .fetch_one(connection)
        .await
}

/// Returns whether a tenant is suspended; `None`: it does not exist. A row that is older than the last suspension counts
/// as suspended.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.tenants.is_suspended", level = "debug", skip_all, err(level = "debug"))]
pub async fn is_suspended(connection: &mut PgConnection, id: TenantId) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT
            suspended_at IS NOT NULL
                OR version < coalesce((SELECT version FROM revocations WHERE stream_id = tenants.id), 0)
                AS "suspended!"
        FROM tenants
        WHERE id = $1
        "#,
        id.0
    )
    .fetch_optional(connection)
    .await
}

/// Returns at most `limit` tenants with a limited retention, by id after `after`.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.tenants.with_retention", level = "trace", skip_all, err(level = "debug"))]
pub async fn with_retention(
    connection: &mut PgConnection,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantWithRetention>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT
            id,
            payload_retention_days AS "payload_days: Stored<u32>",
            event_retention_days AS "event_days: Stored<u32>"
        FROM tenants
        WHERE (payload_retention_days IS NOT NULL OR event_retention_days IS NOT NULL)
          AND ($1::uuid IS NULL OR id > $1)
        ORDER BY id
        LIMIT $2
        "#,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let days = |stored: Option<Stored<u32>>| stored.map(|Stored(days)| days);
    Ok(rows
        .into_iter()
        .map(|row| TenantWithRetention {
            id: row.id.into(),
            retention: Retention { payload_days: days(row.payload_days), event_days: days(row.event_days) },
        })
        .collect())
}

/// Returns the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.tenants.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope) -> Result<Option<Tenant>, sqlx::Error> {
    let query = read_model::select::<Row>("id = $1");
    let tenant_id = scope.tenant_id().0;
    let row: Option<Row> = sqlx::query_as(&query).bind(tenant_id).fetch_optional(scope.connection()).await?;
    Ok(row.map(Into::into))
}
