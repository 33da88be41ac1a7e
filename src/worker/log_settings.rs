//! Settings of an attempt from the log, for a destination whose read model lags behind the dispatcher.
//!
//! Deliveries do not wait for read models: what a read model lacks is the end of two streams, which is short
//! unless the read model has halted.

use aggregates::destination::{Destination, DestinationFact, Stage};
use aggregates::fact::Fact;
use aggregates::ids::DestinationId;
use aggregates::tenant::{Tenant, TenantFact};
use cqrs_es::Aggregate;
use projections::LoggedFact;
use projections::delivery_settings::{self, DeliverySettings};
use projections::logged_fact::UnreadableRow;
use projections::tenants::PreviousSecret;
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use crate::event_store::stream_reader::{self, Wanted};

/// Error of reading settings from the log.
#[derive(Debug, Error)]
pub(super) enum LogSettingsFailure {
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Unreadable(#[from] UnreadableRow),
}

/// Returns the settings of a destination with all facts of the log; `None` when the log does not have it.
///
/// # Errors
/// When the database fails, or a fact cannot be read.
pub(super) async fn read(
    connection: &mut PgConnection,
    id: DestinationId,
) -> Result<Option<DeliverySettings>, LogSettingsFailure> {
    let shown = delivery_settings::get(connection, id).await?;
    let (destination_version, tenant_version) =
        shown.as_ref().map_or((0, 0), |shown| (shown.destination_version, shown.tenant_version));
    let destination = facts_after::<Destination>(connection, id.0, destination_version).await?;
    let tenant_id = match (&shown, destination.first().map(|logged| &logged.fact)) {
        (Some(shown), _) => shown.tenant_id,
        (None, Some(Fact::Destination(DestinationFact::DestinationRegistered { tenant_id, .. }))) => {
            *tenant_id
        }
        (None, _) => return Ok(None),
    };
    let tenant = facts_after::<Tenant>(connection, tenant_id.0, tenant_version).await?;
    let Some(mut settings) = shown.or_else(|| begin(id, &destination, &tenant)) else { return Ok(None) };
    for logged in &destination {
        fold_destination(&mut settings, logged);
    }
    for logged in &tenant {
        fold_tenant(&mut settings, logged);
    }
    Ok(Some(settings))
}

async fn facts_after<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
    after: u64,
) -> Result<Vec<LoggedFact>, LogSettingsFailure> {
    let rows = stream_reader::read_some::<A>(connection, id, Wanted { after, ..Wanted::default() }).await?;
    Ok(rows.into_iter().map(LoggedFact::try_from).collect::<Result<_, _>>()?)
}

/// Returns the settings at the beginning of both streams.
fn begin(id: DestinationId, destination: &[LoggedFact], tenant: &[LoggedFact]) -> Option<DeliverySettings> {
    let Fact::Destination(DestinationFact::DestinationRegistered {
        tenant_id, url, concurrency_limit, ..
    }) = &destination.first()?.fact
    else {
        return None;
    };
    let Fact::Tenant(TenantFact::TenantRegistered { resilience, webhook_secret, .. }) = &tenant.first()?.fact
    else {
        return None;
    };
    Some(DeliverySettings {
        destination_id: id,
        tenant_id: *tenant_id,
        url: url.clone(),
        concurrency_limit: *concurrency_limit,
        auth: None,
        stage: Stage::Active,
        stage_version: 1,
        tenant_is_suspended: false,
        resilience: *resilience,
        webhook_secret: webhook_secret.clone(),
        previous_secret: None,
        destination_version: 1,
        tenant_version: 1,
    })
}

fn fold_destination(settings: &mut DeliverySettings, logged: &LoggedFact) {
    use DestinationFact as Of;
    let Fact::Destination(fact) = &logged.fact else { return };
    settings.destination_version = logged.sequence;
    if fact.voids_jobs() {
        settings.stage_version = logged.sequence;
    }
    match fact {
        Of::DestinationUrlChanged { url, .. } => settings.url.clone_from(url),
        Of::ConcurrencyLimitChanged { concurrency_limit, .. } => {
            settings.concurrency_limit = *concurrency_limit;
        }
        Of::OutboundAuthConfigured { auth, .. } => settings.auth = Some(auth.clone()),
        Of::OutboundAuthRemoved { .. } => settings.auth = None,
        Of::DestinationActivated { .. } | Of::DestinationResumed { .. } => settings.stage = Stage::Active,
        Of::DestinationDeactivated { .. } => settings.stage = Stage::Inactive,
        Of::DestinationSuspended { .. } => settings.stage = Stage::Suspended,
        Of::DestinationProbed { .. } => settings.stage = Stage::Probing,
        Of::DestinationRegistered { .. } | Of::IngestTokenRegenerated { .. } => {}
    }
}

fn fold_tenant(settings: &mut DeliverySettings, logged: &LoggedFact) {
    let Fact::Tenant(fact) = &logged.fact else { return };
    settings.tenant_version = logged.sequence;
    match fact {
        TenantFact::ResilienceChanged { resilience, .. } => settings.resilience = *resilience,
        TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, .. } => {
            let replaced = std::mem::replace(&mut settings.webhook_secret, webhook_secret.clone());
            settings.previous_secret =
                previous_signs_until.map(|signs_until| PreviousSecret { secret: replaced, signs_until });
        }
        TenantFact::TenantSuspended { .. } => settings.tenant_is_suspended = true,
        TenantFact::TenantResumed { .. } => settings.tenant_is_suspended = false,
        TenantFact::TenantRegistered { .. }
        | TenantFact::TenantRenamed { .. }
        | TenantFact::RetentionChanged { .. }
        | TenantFact::OwnerAppointed { .. }
        | TenantFact::OwnerDismissed { .. } => {}
    }
}
