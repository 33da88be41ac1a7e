//! The service: settings, dependencies and roles, put together.
//!
//! Every error in settings and dependencies is found before the first request is accepted: the settings are
//! checked, the database is connected and its schema migrated, the encryption keys are compared with those in
//! use, the broker is connected, and the port is bound. Only then do the roles start, in the order in which
//! they depend on each other.

mod dependencies;
mod roles;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use hooksentry_dashboard::SignInLinks;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::config::{RequiredSettings, Role, Roles, Settings};
use crate::http_server;
use crate::lifecycle::{Lifecycle, ShutdownError};
use crate::open_files::OpenFiles;
use crate::projector::Projected;
use crate::telemetry::Telemetry;
use dependencies::Dependencies;
use roles::RoleStarter;

/// Time within which the connections to PostgreSQL are closed.
const POOL_CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// A running service.
#[derive(Debug)]
pub struct Service {
    lifecycle: Lifecycle,
    pool: PgPool,
    list_pool: Option<PgPool>,
    address: SocketAddr,
    sign_in_links: SignInLinks,
}

impl Service {
    /// Starts the roles.
    ///
    /// # Errors
    /// A setting is invalid, a dependency cannot be used, the port cannot be bound, or `lifecycle` is stopped
    /// before the service has started.
    pub async fn start(
        settings: &Settings,
        roles: &Roles,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let required = settings.check(roles)?;
        settings.warn();
        let stop = lifecycle.intake();
        tokio::select! {
            started = Self::start_roles(settings, required, roles, telemetry, lifecycle) => started,
            () = stop.cancelled() => bail!("stopped before it had started"),
        }
    }

    async fn start_roles(
        settings: &Settings,
        required: RequiredSettings,
        roles: &Roles,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let dependencies = Dependencies::connect(settings, &required, roles, telemetry, &lifecycle).await?;
        let listener = http_server::bind(settings.http.listen, "HOOKSENTRY_LISTEN").await?;
        let admin_listener = match settings.http.admin_listen {
            Some(address) => Some(http_server::bind(address, "HOOKSENTRY_ADMIN_LISTEN").await?),
            None => None,
        };
        let address = listener.local_addr().context("the bound port has no address")?;

        let mut starter = RoleStarter::new(settings, open_files(settings, roles), &dependencies, &lifecycle);
        starter.start_metrics_upkeep();
        let projected = match roles.has(Role::Projector) {
            true => starter.start_projector(),
            false => Projected::elsewhere(dependencies.pool.clone()),
        };
        if roles.has(Role::Projector) {
            starter.start_completeness_check();
        }
        if roles.has(Role::Dispatcher) {
            starter.start_dispatcher()?;
        }
        if roles.has(Role::Worker) {
            starter.start_worker()?;
        }
        if roles.has(Role::Sealer) {
            starter.start_sealer()?;
        }
        match roles.has(Role::Api) {
            true => starter.start_api(listener, required.signing_keys, projected)?,
            false => starter.start_health_endpoint(listener, settings.http.metrics()),
        }
        if let Some(listener) = admin_listener {
            starter.start_health_endpoint(listener, settings.http.admin_metrics());
        }
        tracing::info!(%roles, %address, "ready");
        let (pool, list_pool) = (dependencies.pool.clone(), dependencies.list_pool.clone());
        let sign_in_links = starter.sign_in_links;
        Ok(Self { lifecycle, pool, list_pool, address, sign_in_links })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the links of the dashboard that sign in once.
    #[must_use]
    pub fn sign_in_links(&self) -> &SignInLinks {
        &self.sign_in_links
    }

    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Runs until it is stopped or one of its tasks ends unexpectedly.
    ///
    /// # Errors
    /// A task failed, or work was still in progress at the shutdown deadline.
    pub async fn finish(self) -> Result<(), ShutdownError> {
        let ended = self.lifecycle.finish().await;
        // Connections are closed properly unless PostgreSQL does not respond.
        let close = async {
            if let Some(list_pool) = &self.list_pool {
                list_pool.close().await;
            }
            self.pool.close().await;
        };
        if timeout(POOL_CLOSED_WITHIN, close).await.is_err() {
            tracing::debug!("some connections to PostgreSQL were not closed in time");
        }
        ended
    }
}

/// Raises the limit of open files for what the roles do at once.
fn open_files(settings: &Settings, roles: &Roles) -> OpenFiles {
    let attempts = if roles.has(Role::Worker) { settings.delivery.worker_concurrency.get() } else { 0 };
    OpenFiles::raise(OpenFiles { connections: settings.http.connections, attempts })
}
