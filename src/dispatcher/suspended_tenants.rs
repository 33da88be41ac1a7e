//! The table `dispatch_suspended_tenants`, as of the dispatcher's checkpoint. It is written in the checkpoint's
//! transaction.

use aggregates::ids::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

/// Returns the tenants that are suspended.
#[tracing::instrument(name = "db.suspended_tenants.load", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn load(connection: &mut PgConnection) -> Result<Vec<TenantId>, sqlx::Error> {
    let tenants =
        sqlx::query_scalar!("SELECT tenant_id FROM dispatch_suspended_tenants").fetch_all(connection).await?;
    Ok(tenants.into_iter().map(TenantId).collect())
}

/// Adds tenants that are suspended.
#[tracing::instrument(name = "db.suspended_tenants.write", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn write(connection: &mut PgConnection, tenants: &[Uuid]) -> Result<(), sqlx::Error> {
    if !tenants.is_empty() {
        sqlx::query!(
            "
            INSERT INTO dispatch_suspended_tenants (tenant_id)
            SELECT * FROM unnest($1::uuid[])
            ON CONFLICT DO NOTHING
            ",
            tenants,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Removes tenants that were resumed.
#[tracing::instrument(name = "db.suspended_tenants.remove", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn remove(connection: &mut PgConnection, tenants: &[Uuid]) -> Result<(), sqlx::Error> {
    if !tenants.is_empty() {
        sqlx::query!("DELETE FROM dispatch_suspended_tenants WHERE tenant_id = ANY ($1)", tenants)
            .execute(connection)
            .await?;
    }
    Ok(())
}
