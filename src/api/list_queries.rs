//! Queries of lists and statistics.
//!
//! They may read and sort everything that a tenant has. So they have connections of their own, with a short timeout,
//! and a tenant has few at once: however many lists are requested, webhooks are accepted.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aggregates::ids::TenantId;
use projections::TenantScope;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::http::problem::Problem;

/// Connections for lists. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ListQueries {
    pool: PgPool,
    tenant_queries_max: usize,
    wait_max: Duration,
    /// Permits of the tenants with queries.
    tenants: Arc<Mutex<HashMap<TenantId, Weak<Semaphore>>>>,
}

/// Tenant scope of the queries of a list.
#[derive(Debug)]
pub(crate) struct ListScope {
    scope: TenantScope,
    _permit: OwnedSemaphorePermit,
}

/// Connection without a scope, for what precedes the queries of a list.
#[derive(Debug)]
pub(crate) struct ListConnection {
    connection: PoolConnection<Postgres>,
    pool: PgPool,
    tenant_id: TenantId,
    permit: OwnedSemaphorePermit,
}

impl ListQueries {
    /// Returns queries on the connections of `pool`. A query waits at most `wait_max` for others of its tenant.
    pub(crate) fn new(pool: PgPool, tenant_queries_max: usize, wait_max: Duration) -> Self {
        Self { pool, tenant_queries_max, wait_max, tenants: Arc::default() }
    }

    /// Begins the queries of a list.
    ///
    /// # Errors
    /// The tenant has too many lists in progress, all connections are in use, or the database fails.
    pub(crate) async fn begin(&self, tenant_id: TenantId) -> Result<ListScope, Problem> {
        let permit = self.permit(tenant_id).await?;
        let scope = TenantScope::begin(&self.pool, tenant_id).await.map_err(unavailable)?;
        Ok(ListScope { scope, _permit: permit })
    }

    /// Returns a connection for what must be read before the queries of a list, outside the scope of the tenant.
    ///
    /// # Errors
    /// The tenant has too many lists in progress, all connections are in use, or the database fails.
    pub(crate) async fn connect(&self, tenant_id: TenantId) -> Result<ListConnection, Problem> {
        let permit = self.permit(tenant_id).await?;
        let connection = self.pool.acquire().await.map_err(unavailable)?;
        Ok(ListConnection { connection, pool: self.pool.clone(), tenant_id, permit })
    }

    /// Takes one of the tenant's permits.
    async fn permit(&self, tenant_id: TenantId) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = self.permits(tenant_id);
        if let Ok(Ok(permit)) = timeout(self.wait_max, permits.acquire_owned()).await {
            return Ok(permit);
        }
        metrics::counter!("hooksentry_http_refused_total", "limit" => "lists_per_tenant").increment(1);
        Err(Problem::share_used(
            "This tenant has as many lists in progress as HOOKSENTRY_LISTS_PER_TENANT allows. Try again after the \
             time in `Retry-After`."
                .to_owned(),
        ))
    }

    fn permits(&self, tenant_id: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = tenants.get(&tenant_id).and_then(Weak::upgrade) {
            return permits;
        }
        tenants.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(self.tenant_queries_max));
        tenants.insert(tenant_id, Arc::downgrade(&permits));
        permits
    }
}

/// Returns the problem of a connection that could not be had.
fn unavailable(error: sqlx::Error) -> Problem {
    let sqlx::Error::PoolTimedOut = error else { return error.into() };
    metrics::counter!("hooksentry_http_refused_total", "limit" => "list_connections").increment(1);
    Problem::overloaded(
        "All connections for lists are in use, as many as HOOKSENTRY_LIST_CONNECTIONS allows. Try again later."
            .to_owned(),
    )
}

impl ListConnection {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Begins the queries of the list.
    ///
    /// # Errors
    /// All connections are in use, or the database fails.
    pub(crate) async fn into_scope(self) -> Result<ListScope, Problem> {
        drop(self.connection);
        let scope = TenantScope::begin(&self.pool, self.tenant_id).await.map_err(unavailable)?;
        Ok(ListScope { scope, _permit: self.permit })
    }
}

impl ListScope {
    /// Ends the queries.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn end(self) -> Result<(), sqlx::Error> {
        self.scope.end().await
    }
}

impl Deref for ListScope {
    type Target = TenantScope;

    fn deref(&self) -> &TenantScope {
        &self.scope
    }
}

impl DerefMut for ListScope {
    fn deref_mut(&mut self) -> &mut TenantScope {
        &mut self.scope
    }
}
