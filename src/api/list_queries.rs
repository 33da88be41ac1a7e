//! Queries of lists and statistics.
//!
//! They may read and sort everything that a tenant has. So they have connections of their own, with a short timeout,
//! and a tenant has few at once, for a share of the time: however many lists are requested, webhooks are accepted.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aggregates::ids::TenantId;
use projections::TenantScope;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::http::problem::Problem;
use crate::time_share::TimeShare;

/// Connections for lists. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ListQueries {
    pool: PgPool,
    limits: ListLimits,
    /// Tenants with queries, or that have not rested since.
    tenants: Arc<Mutex<HashMap<TenantId, Arc<TenantQueries>>>>,
}

/// Limits of the lists of one tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListLimits {
    pub(crate) at_once: usize,
    /// Percentage of the time in which its lists may be queried; 200: two all the time.
    pub(crate) time_percent: u32,
    /// Time that a query waits at most, for others of its tenant or for the tenant's share of the time.
    pub(crate) wait_max: Duration,
}

#[derive(Debug)]
struct TenantQueries {
    permits: Arc<Semaphore>,
    time: TimeShare,
}

/// Permit of a query, whose time counts until it is dropped.
#[derive(Debug)]
struct Permit {
    queries: Arc<TenantQueries>,
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Tenant scope of the queries of a list.
#[derive(Debug)]
pub(crate) struct ListScope {
    scope: TenantScope,
    _permit: Permit,
}

/// Connection without a scope, for what precedes the queries of a list.
#[derive(Debug)]
pub(crate) struct ListConnection {
    connection: PoolConnection<Postgres>,
    pool: PgPool,
    tenant_id: TenantId,
    permit: Permit,
}

impl ListQueries {
    /// Returns queries on the connections of `pool`.
    pub(crate) fn new(pool: PgPool, limits: ListLimits) -> Self {
        Self { pool, limits, tenants: Arc::default() }
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

    /// Takes one of the tenant's permits, when the tenant has time for a query.
    async fn permit(&self, tenant_id: TenantId) -> Result<Permit, Problem> {
        let queries = self.queries_of(tenant_id);
        let permits = queries.permits.clone();
        let taken = timeout(self.limits.wait_max, async {
            let permit = permits.acquire_owned().await;
            queries.time.turn().await;
            permit
        });
        if let Ok(Ok(permit)) = taken.await {
            return Ok(Permit { queries, since: Instant::now(), _permit: permit });
        }
        metrics::counter!("hooksentry_http_refused_total", "limit" => "lists_per_tenant").increment(1);
        Err(Problem::share_used(
            "This tenant has as many lists in progress as HOOKSENTRY_LISTS_PER_TENANT allows, or has used more of the time \
             than HOOKSENTRY_LIST_TIME_PERCENT. Try again after the time in `Retry-After`."
                .to_owned(),
        ))
    }

    fn queries_of(&self, tenant_id: TenantId) -> Arc<TenantQueries> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queries) = tenants.get(&tenant_id) {
            return queries.clone();
        }
        tenants.retain(|_, queries| Arc::strong_count(queries) > 1 || !queries.time.is_full());
        let queries = Arc::new(TenantQueries {
            permits: Arc::new(Semaphore::new(self.limits.at_once)),
            time: TimeShare::new(self.limits.time_percent),
        });
        tenants.insert(tenant_id, queries.clone());
        queries
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queries.time.used(self.since.elapsed());
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
