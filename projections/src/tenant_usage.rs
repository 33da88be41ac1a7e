//! How many resources a tenant has, to compare them with its limits.

use crate::tenant_scope::TenantScope;

/// Kind of resource whose number is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Destinations,
    /// Without those that were deleted.
    Senders,
    /// Without those that were deleted.
    Users,
    /// Without those that were revoked.
    ApiKeys,
    /// Without those that were revoked or have expired.
    PortalLinks,
}

impl Resource {
    /// Returns the table, and the condition of the rows that count.
    fn rows(self) -> (&'static str, &'static str) {
        match self {
            Self::Destinations => ("destinations", "true"),
            Self::Senders => ("senders", "deleted_at IS NULL"),
            Self::Users => ("users", "deleted_at IS NULL"),
            Self::ApiKeys => ("api_keys", "revoked_at IS NULL"),
            Self::PortalLinks => ("portal_links", "revoked_at IS NULL AND expires_at > now()"),
        }
    }
}

/// Returns whether the scope's tenant has at least `number` of a resource. Reads no more rows than that.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.tenant_usage.has", level = "debug", skip_all, err(level = "debug"))]
pub async fn has(scope: &mut TenantScope, resource: Resource, number: u32) -> Result<bool, sqlx::Error> {
    let (table, condition) = resource.rows();
    let query = format!(
        "SELECT count(*) FROM (SELECT FROM {table} WHERE tenant_id = $1 AND {condition} LIMIT $2) AS present"
    );
    let tenant_id = scope.tenant_id().0;
    let present: i64 = sqlx::query_scalar(&query)
        .bind(tenant_id)
        .bind(i64::from(number))
        .fetch_one(scope.connection())
        .await?;
    Ok(present >= i64::from(number))
}
