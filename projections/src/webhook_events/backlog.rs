//! How much waits.

use aggregates::ids::DestinationId;

use super::recount;
use super::timeline::{Statuses, Timeline};
use super::{Filter, Status};
use crate::tenant_scope::TenantScope;

/// How many events of the scope's tenant wait for an attempt: for one destination, or in all.
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
    let recounting = recount::is_under_way(scope).await?;
    let mut waiting = 0;
    for status in [Status::Pending, Status::WaitingRetry] {
        let filter = Filter { status: Some(status), destination_id, ..Filter::default() };
        waiting += Timeline::read(scope, filter, Statuses::Only(status), recounting).await?.total();
    }
    Ok(waiting)
}
