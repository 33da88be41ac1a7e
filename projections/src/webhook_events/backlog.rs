//! The number of events that wait for an attempt.

use aggregates::ids::DestinationId;

use super::recount;
use super::timeline::Timeline;
use super::{EventStatus, Filter};
use crate::tenant_scope::TenantScope;

/// Counts the events of the scope's tenant that wait for an attempt: for one destination, or in all.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.webhook_events.count_waiting",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub async fn count_waiting(
    scope: &mut TenantScope,
    destination_id: Option<DestinationId>,
) -> Result<i64, sqlx::Error> {
    let recounting = recount::is_in_progress(scope).await?;
    let mut waiting = 0;
    for status in EventStatus::ALL.iter().copied().filter(|status| status.is_waiting()) {
        let filter = Filter { status: Some(status), destination_id, ..Filter::default() };
        waiting += Timeline::read(scope, filter.into(), recounting).await?.total();
    }
    Ok(waiting)
}
