//! Commands with which the operator invites, suspends and resumes tenants, and places them under a legal hold.

mod invite;
mod legal_hold;
mod resume;
mod suspend;

use std::time::Duration;

use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, TenantCommand};
use anyhow::bail;
use projections::tenants;
use tokio::time::{Instant, sleep};

use super::maintenance::MaintenanceSettings;
use crate::database;
use crate::event_store::{self, EventStore, LogNotifier, Metadata};

pub use invite::InviteTenant;
pub use legal_hold::{LiftLegalHold, PlaceLegalHold};
pub use resume::ResumeTenant;
pub use suspend::SuspendTenant;

/// Time within which the read model of tenants must show a resumption. A suspension does not wait for it.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// Interval at which it is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Executes a command that suspends or resumes a tenant, and waits until it is in force. Returns whether it changed
/// something.
///
/// # Errors
/// The command is refused, the database fails, or no projector applies the fact.
async fn execute(
    settings: &MaintenanceSettings,
    id: TenantId,
    command: TenantCommand,
) -> anyhow::Result<bool> {
    let url = settings.begin()?;
    let mut connection = settings.connect_to_current(&url).await?;
    event_store::require_own_log(&mut connection).await?;
    let pool = database::connect(&settings.database, &url, settings.start.timeout).await?;
    let store = EventStore::new(pool.clone(), LogNotifier::within_process());
    let executed = store.execute::<Tenant>(id.0, command, &Metadata::of_operator(id)).await?;
    let Tenant::Registered(tenant) = executed.state else { bail!("no tenant has the id {id}") };
    let deadline = Instant::now() + SHOWN_WITHIN;
    while tenants::is_suspended(&mut connection, id).await? != Some(tenant.is_suspended) {
        if Instant::now() >= deadline {
            bail!(
                "the fact is recorded, but ingest and logins follow it only when a process with the role projector \
                 has applied it, which none did within {SHOWN_WITHIN:?}"
            );
        }
        sleep(POLL_INTERVAL).await;
    }
    pool.close().await;
    Ok(!executed.facts.is_empty())
}
