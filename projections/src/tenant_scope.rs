//! The second lock between tenants: a transaction in which the database itself shows one tenant's rows
//! and no others.
//!
//! Every query names its tenant; that is the first lock, and a forgotten `WHERE` would leave it open.
//! So queries that serve a tenant run inside a [`TenantScope`]: its transaction has become the role
//! `hooksentry_tenant`, which may only read, and row-level security adds the tenant to every condition.
//! Role and tenant end with the transaction; the connection goes back to the pool as it came.
//!
//! What is looked up before a tenant is known (a token, a key, a session, an email, who owns an id) is
//! read outside any scope, by the one thing that the caller presented.

use aggregates::ids::TenantId;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// A read-only transaction that sees one tenant, at one moment.
#[derive(Debug)]
pub struct TenantScope {
    transaction: Transaction<'static, Postgres>,
    tenant_id: TenantId,
}

impl TenantScope {
    /// Opens a transaction that sees nothing but `tenant_id`'s rows. All its queries see the same
    /// moment, so a page and its total agree.
    #[tracing::instrument(name = "db.tenant_scope.begin", level = "debug", skip_all, err(level = "debug"))]
    pub async fn begin(pool: &PgPool, tenant_id: TenantId) -> Result<Self, sqlx::Error> {
        let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Optional filters are written as `$n IS NULL OR ...`: planned for the values at hand they
        // vanish, in a generic plan they would keep the planner from its indexes.
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

    /// Whose rows it sees.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.tenant_id
    }

    /// The connection on which to ask.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Ends the transaction. A scope that is dropped ends too, when its connection is used next.
    pub async fn end(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}
