//! How much waits.

use aggregates::ids::DestinationId;

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
    let tenant_id = scope.tenant_id().0;
    sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!"
        FROM webhook_events
        WHERE tenant_id = $1
          AND ($2::uuid IS NULL OR destination_id = $2)
          AND status IN (0, 4)
        "#,
        tenant_id,
        destination_id.map(|id| id.0),
    )
    .fetch_one(scope.connection())
    .await
}
