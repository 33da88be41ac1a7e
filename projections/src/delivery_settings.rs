//! Current settings for an attempt, joined from destinations and tenants.

use aggregates::destination::{AuthType, OutboundAuth, Stage};
use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::{Resilience, WebhookSecret};
use sqlx::PgConnection;

use crate::columns::{Stored, sealed};
use crate::tenants::{self, PreviousSecret};

/// How to deliver to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    pub destination_id: DestinationId,
    pub tenant_id: TenantId,
    pub url: String,
    /// Most concurrent requests to the destination.
    pub concurrency_limit: u32,
    /// How requests authenticate; `None`: they do not.
    pub auth: Option<OutboundAuth>,
    pub stage: Stage,
    /// Version of the destination's stream at which it entered that stage or got its limit.
    pub stage_version: u64,
    pub tenant_is_suspended: bool,
    pub resilience: Resilience,
    pub webhook_secret: WebhookSecret,
    /// Signs in addition. The reader compares its end with the time, because settings may be cached.
    pub previous_secret: Option<PreviousSecret>,
    /// Version of the destination's stream at which it has these settings.
    pub destination_version: u64,
    /// Version of the tenant's stream at which it has these settings.
    pub tenant_version: u64,
}

/// Returns the settings of a destination.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.delivery_settings.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(
    connection: &mut PgConnection,
    id: DestinationId,
) -> Result<Option<DeliverySettings>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        SELECT
            destinations.tenant_id,
            destinations.url,
            destinations.concurrency_limit AS "concurrency_limit: Stored<u32>",
            destinations.auth_type AS "auth_type: Stored<AuthType>",
            destinations.credentials_data_key,
            destinations.credentials_ciphertext,
            destinations.stage AS "stage: Stored<Stage>",
            destinations.stage_version AS "stage_version: Stored<u64>",
            destinations.version AS "destination_version: Stored<u64>",
            tenants.suspended_at IS NOT NULL AS "tenant_is_suspended!",
            tenants.max_attempts AS "max_attempts: Stored<u32>",
            tenants.circuit_breaker_timer AS "circuit_breaker_timer: Stored<u32>",
            tenants.secret_data_key,
            tenants.secret_ciphertext,
            tenants.secret_fingerprint,
            tenants.previous_secret_data_key,
            tenants.previous_secret_ciphertext,
            tenants.previous_secret_fingerprint,
            tenants.previous_signs_until,
            tenants.version AS "tenant_version: Stored<u64>"
        FROM destinations
        JOIN tenants ON tenants.id = destinations.tenant_id
        WHERE destinations.id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|row| DeliverySettings {
        destination_id: id,
        tenant_id: row.tenant_id.into(),
        url: row.url,
        concurrency_limit: row.concurrency_limit.into(),
        auth: row
            .auth_type
            .zip(sealed(row.credentials_data_key, row.credentials_ciphertext))
            .map(|(Stored(auth_type), credentials)| OutboundAuth { auth_type, credentials }),
        stage: row.stage.into(),
        stage_version: row.stage_version.into(),
        tenant_is_suspended: row.tenant_is_suspended,
        resilience: Resilience {
            max_attempts: row.max_attempts.into(),
            circuit_breaker_timer: row.circuit_breaker_timer.into(),
        },
        webhook_secret: tenants::secret(row.secret_data_key, row.secret_ciphertext, row.secret_fingerprint),
        previous_secret: tenants::previous_secret(
            row.previous_secret_data_key,
            row.previous_secret_ciphertext,
            row.previous_secret_fingerprint,
            row.previous_signs_until,
        ),
        destination_version: row.destination_version.into(),
        tenant_version: row.tenant_version.into(),
    }))
}
