//! What an attempt needs to know, current at the attempt: read from destinations and tenants in one go.

use aggregates::destination::{OutboundAuth, Stage};
use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::{Resilience, WebhookSecret};
use sqlx::PgConnection;

use crate::columns::{auth_type, count, sealed, stage, version};
use crate::tenants::{self, PreviousSecret};

/// How to deliver to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    pub destination_id: DestinationId,
    /// Whose destination it is.
    pub tenant_id: TenantId,
    pub url: String,
    pub concurrency_limit: u32,
    /// How requests prove themselves, with sealed credentials.
    pub auth: Option<OutboundAuth>,
    pub stage: Stage,
    /// Version of the destination's stream at which it entered that stage.
    pub stage_version: u64,
    /// How its tenant retries.
    pub resilience: Resilience,
    pub webhook_secret: WebhookSecret,
    /// What signs besides, until its time is over. The reader compares: settings may be kept a while.
    pub previous_secret: Option<PreviousSecret>,
    /// Version of the destination's stream that this shows.
    pub destination_version: u64,
    /// Version of the tenant's stream that this shows.
    pub tenant_version: u64,
}

/// The settings of a destination.
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
            destinations.concurrency_limit,
            destinations.auth_type,
            destinations.credentials_data_key,
            destinations.credentials_ciphertext,
            destinations.stage,
            destinations.stage_version,
            destinations.version AS destination_version,
            tenants.max_attempts,
            tenants.circuit_breaker_timer,
            tenants.secret_data_key,
            tenants.secret_ciphertext,
            tenants.secret_fingerprint,
            tenants.previous_secret_data_key,
            tenants.previous_secret_ciphertext,
            tenants.previous_secret_fingerprint,
            tenants.previous_signs_until,
            tenants.version AS tenant_version
        FROM destinations
        JOIN tenants ON tenants.id = destinations.tenant_id
        WHERE destinations.id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            let auth_type = row.auth_type.map(|number| auth_type("auth_type", number)).transpose()?;
            let credentials = sealed(row.credentials_data_key, row.credentials_ciphertext);
            Ok(DeliverySettings {
                destination_id: id,
                tenant_id: row.tenant_id.into(),
                url: row.url,
                concurrency_limit: count("concurrency_limit", row.concurrency_limit)?,
                auth: auth_type
                    .zip(credentials)
                    .map(|(auth_type, credentials)| OutboundAuth { auth_type, credentials }),
                stage: stage("stage", row.stage)?,
                stage_version: version("stage_version", row.stage_version)?,
                resilience: tenants::resilience(row.max_attempts, row.circuit_breaker_timer)?,
                webhook_secret: tenants::secret(
                    row.secret_data_key,
                    row.secret_ciphertext,
                    row.secret_fingerprint,
                ),
                previous_secret: tenants::previous_secret(
                    row.previous_secret_data_key,
                    row.previous_secret_ciphertext,
                    row.previous_secret_fingerprint,
                    row.previous_signs_until,
                ),
                destination_version: version("version", row.destination_version)?,
                tenant_version: version("version", row.tenant_version)?,
            })
        })
        .transpose()
}
