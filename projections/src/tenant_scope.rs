//! Tenant scopes: transactions in which the database shows the rows of one tenant only.
//!
//! Every query has a condition on its tenant. That is the first barrier between tenants, and a forgotten
//! `WHERE` would break it. The second is the [`TenantScope`] in which queries for a tenant run: its
//! transaction has the role `hooksentry_tenant`, which may only read, and row-level security adds the tenant
//! to every condition. Role and tenant end with the transaction, so the connection returns to the pool
//! unchanged.
//!
//! Lookups that find out the tenant (by a token, a key, a session, an email or an id) run outside a scope.

use aggregates::ids::TenantId;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// A read-only transaction that sees one tenant, in one snapshot.
#[derive(Debug)]
pub struct TenantScope {
    transaction: Transaction<'static, Postgres>,
    tenant_id: TenantId,
}

impl TenantScope {
    /// Begins a transaction that sees only the rows of `tenant_id`. All its queries see the same
    /// snapshot, so a page and its total agree.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "db.tenant_scope.begin", level = "debug", skip_all, err(level = "debug"))]
    pub async fn begin(pool: &PgPool, tenant_id: TenantId) -> Result<Self, sqlx::Error> {
        let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Some optional conditions are `$n IS NULL OR ...`. A plan for the values at hand drops those that
        // do not apply; a generic plan keeps them, and cannot use the indexes.
        sqlx::query!(
            r#"
            SELECT
                set_config('role', 'hooksentry_tenant', true) AS role,
                set_config('hooksentry.tenant_id', $1, true) AS tenant,
                set_config('plan_cache_mode', 'force_custom_plan', true) AS plans
            "#,
            tenant_id.0.to_string(),
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok(Self { transaction, tenant_id })
    }

    /// The tenant whose rows it sees.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    /// The connection for queries of the scope.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Ends the transaction. That of a dropped scope ends when its connection is used next.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}
