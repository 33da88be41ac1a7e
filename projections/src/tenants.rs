//! Tenants: how they retry, how long they keep things, and what signs their webhooks.

use aggregates::fact::Fact;
use aggregates::ids::TenantId;
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, TenantFact, WebhookSecret};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::{count, sealed};
use crate::fold::{self, ApplyFailure, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// A tenant, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub resilience: Resilience,
    /// How long it keeps what has ended.
    pub retention: Retention,
    /// What signs its webhooks.
    pub webhook_secret: WebhookSecret,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
}

/// A signing secret that was replaced, and signs beside the new one for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    pub secret: WebhookSecret,
    /// Until when it signs.
    pub signs_until: DateTime<Utc>,
}

/// A tenant that does not keep everything for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantWithRetention {
    pub id: TenantId,
    /// How long it keeps what has ended.
    pub retention: Retention,
}

struct Row {
    id: Uuid,
    name: String,
    max_attempts: i64,
    circuit_breaker_timer: i64,
    payload_retention_days: Option<i64>,
    event_retention_days: Option<i64>,
    secret_data_key: Uuid,
    secret_ciphertext: String,
    secret_fingerprint: String,
    previous_secret_data_key: Option<Uuid>,
    previous_secret_ciphertext: Option<String>,
    previous_secret_fingerprint: Option<String>,
    previous_signs_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
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

    fn pick(fact: &Fact) -> Option<&TenantFact> {
        if let Fact::Tenant(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &TenantFact) -> Option<Self> {
        let TenantFact::TenantRegistered { name, resilience, retention, webhook_secret, at, .. } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            name: name.clone(),
            max_attempts: resilience.max_attempts.into(),
            circuit_breaker_timer: resilience.circuit_breaker_timer.into(),
            payload_retention_days: retention.payload_days.map(Into::into),
            event_retention_days: retention.event_days.map(Into::into),
            secret_data_key: webhook_secret.sealed.data_key,
            secret_ciphertext: webhook_secret.sealed.ciphertext.clone(),
            secret_fingerprint: webhook_secret.fingerprint.0.clone(),
            previous_secret_data_key: None,
            previous_secret_ciphertext: None,
            previous_secret_fingerprint: None,
            previous_signs_until: None,
            created_at: *at,
            updated_at: *at,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &TenantFact) {
        match fact {
            TenantFact::TenantRegistered { .. } => {}
            TenantFact::TenantRenamed { name, at } => {
                self.name.clone_from(name);
                self.updated_at = *at;
            }
            TenantFact::ResilienceChanged { resilience, at } => {
                self.max_attempts = resilience.max_attempts.into();
                self.circuit_breaker_timer = resilience.circuit_breaker_timer.into();
                self.updated_at = *at;
            }
            TenantFact::RetentionChanged { retention, at } => {
                self.payload_retention_days = retention.payload_days.map(Into::into);
                self.event_retention_days = retention.event_days.map(Into::into);
                self.updated_at = *at;
            }
            TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, at } => {
                self.replace_secret(webhook_secret, *previous_signs_until);
                self.updated_at = *at;
            }
            // Who owns it is told by its users.
            TenantFact::OwnerAppointed { .. } | TenantFact::OwnerDismissed { .. } => {}
        }
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

/// Reads the columns of the current secret.
pub(crate) fn secret(data_key: Uuid, ciphertext: String, fingerprint: String) -> WebhookSecret {
    WebhookSecret { sealed: Sealed { data_key, ciphertext }, fingerprint: Fingerprint(fingerprint) }
}

/// Reads the columns of the secret before it.
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

/// Reads the columns of how it retries.
pub(crate) fn resilience(max_attempts: i64, circuit_breaker_timer: i64) -> Result<Resilience, sqlx::Error> {
    Ok(Resilience {
        max_attempts: count("max_attempts", max_attempts)?,
        circuit_breaker_timer: count("circuit_breaker_timer", circuit_breaker_timer)?,
    })
}

/// Reads the columns of how long it keeps what has ended.
fn retention(payload_days: Option<i64>, event_days: Option<i64>) -> Result<Retention, sqlx::Error> {
    Ok(Retention {
        payload_days: payload_days.map(|days| count("payload_retention_days", days)).transpose()?,
        event_days: event_days.map(|days| count("event_retention_days", days)).transpose()?,
    })
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Tenants;

impl ReadModel for Tenants {
    const NAME: &'static str = "tenants";
    const AGGREGATES: &'static [&'static str] = &["Tenant"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let ids = fold::streams_of::<Row>(facts);
    if ids.is_empty() {
        return Ok(());
    }
    let rows = fold::fold(load(connection, &ids).await?, facts)?;
    Ok(store(connection, &rows).await?)
}

#[tracing::instrument(name = "db.tenants.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, name, max_attempts, circuit_breaker_timer, payload_retention_days, event_retention_days,
            secret_data_key, secret_ciphertext, secret_fingerprint,
            previous_secret_data_key, previous_secret_ciphertext, previous_secret_fingerprint,
            previous_signs_until, created_at, updated_at, version
        FROM tenants
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.tenants.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO tenants (
            id, name, max_attempts, circuit_breaker_timer, payload_retention_days, event_retention_days,
            secret_data_key, secret_ciphertext, secret_fingerprint,
            previous_secret_data_key, previous_secret_ciphertext, previous_secret_fingerprint,
            previous_signs_until, created_at, updated_at, version
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::uuid[], $8::text[], $9::text[],
            $10::uuid[], $11::text[], $12::text[],
            $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $16::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name,
            max_attempts = excluded.max_attempts,
            circuit_breaker_timer = excluded.circuit_breaker_timer,
            payload_retention_days = excluded.payload_retention_days,
            event_retention_days = excluded.event_retention_days,
            secret_data_key = excluded.secret_data_key,
            secret_ciphertext = excluded.secret_ciphertext,
            secret_fingerprint = excluded.secret_fingerprint,
            previous_secret_data_key = excluded.previous_secret_data_key,
            previous_secret_ciphertext = excluded.previous_secret_ciphertext,
            previous_secret_fingerprint = excluded.previous_secret_fingerprint,
            previous_signs_until = excluded.previous_signs_until,
            updated_at = excluded.updated_at,
            version = excluded.version
        WHERE tenants.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.max_attempts).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.circuit_breaker_timer).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.payload_retention_days).collect::<Vec<_>>() as &[Option<i64>],
        &rows.iter().map(|row| row.event_retention_days).collect::<Vec<_>>() as &[Option<i64>],
        &rows.iter().map(|row| row.secret_data_key).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.secret_ciphertext.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.secret_fingerprint.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.previous_secret_data_key).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|row| row.previous_secret_ciphertext.clone()).collect::<Vec<_>>()
            as &[Option<String>],
        &rows.iter().map(|row| row.previous_secret_fingerprint.clone()).collect::<Vec<_>>()
            as &[Option<String>],
        &rows.iter().map(|row| row.previous_signs_until).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.updated_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether there is such a tenant.
#[tracing::instrument(name = "db.tenants.exists", level = "debug", skip_all, err(level = "debug"))]
pub async fn exists(connection: &mut PgConnection, id: TenantId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM tenants WHERE id = $1) AS "exists!""#, id.0)
        .fetch_one(connection)
        .await
}

/// The tenants that do not keep everything for ever, by id after `after`.
#[tracing::instrument(name = "db.tenants.forgetful", level = "trace", skip_all, err(level = "debug"))]
pub async fn forgetful(
    connection: &mut PgConnection,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantWithRetention>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        SELECT id, payload_retention_days, event_retention_days
        FROM tenants
        WHERE (payload_retention_days IS NOT NULL OR event_retention_days IS NOT NULL)
          AND ($1::uuid IS NULL OR id > $1)
        ORDER BY id
        LIMIT $2
        ",
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let retention = retention(row.payload_retention_days, row.event_retention_days)?;
            Ok(TenantWithRetention { id: row.id.into(), retention })
        })
        .collect()
}

/// The scope's tenant.
#[tracing::instrument(name = "db.tenants.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope) -> Result<Option<Tenant>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let found = sqlx::query!(
        r#"
        SELECT
            id, name, max_attempts, circuit_breaker_timer, payload_retention_days, event_retention_days,
            secret_data_key, secret_ciphertext, secret_fingerprint,
            created_at, updated_at
        FROM tenants
        WHERE id = $1
        "#,
        tenant_id,
    )
    .fetch_optional(scope.connection())
    .await?;
    found
        .map(|row| {
            Ok(Tenant {
                id: row.id.into(),
                name: row.name,
                resilience: resilience(row.max_attempts, row.circuit_breaker_timer)?,
                retention: retention(row.payload_retention_days, row.event_retention_days)?,
                webhook_secret: secret(row.secret_data_key, row.secret_ciphertext, row.secret_fingerprint),
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .transpose()
}
