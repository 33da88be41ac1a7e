//! The service: its rooms, put together as the roles ask.
//!
//! Everything that can be wrong with settings or dependencies is found here, before the first request is
//! taken: settings are checked, then the database is reached and its schema brought up to date, then the
//! keys are compared with what they must open, then the broker is reached, then the port is bound. Only
//! then do the rooms start, those that others rely on first.

mod dependencies;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::api;
use crate::config::{Needed, Role, Roles, Settings};
use crate::dispatcher::{Dispatcher, DispatcherSettings};
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{AcceptBatch, AttemptClaimBatch, EventStore, LogNotifier, StreamAppendBatch};
use crate::fair_share::Weights;
use crate::health::Health;
use crate::http_server;
use crate::lifecycle::{Lifecycle, ShutdownError};
use crate::live::Broadcaster;
use crate::open_files;
use crate::projector::{Projected, Projector};
use crate::queue::JobQueue;
use crate::secrets::passwords::Passwords;
use crate::secrets::signing_keys::SigningKeys;
use crate::secrets::vault::Vault;
use crate::telemetry::Telemetry;
use crate::worker::outbound_client::{OutboundClient, OutboundSettings};
use crate::worker::{Worker, WorkerSettings};

/// Commits at once of each kind of hot append. With more, batches are smaller and each pays for a commit of
/// its own: measured, two commit a third more often and deliver no more.
const COMMITS_MAX: usize = 1;

/// How long closing the connections to PostgreSQL may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// A running service.
#[derive(Debug)]
pub struct Service {
    lifecycle: Lifecycle,
    pool: PgPool,
    address: SocketAddr,
}

impl Service {
    /// Starts the roles. Ends early when `lifecycle` is told to stop meanwhile.
    pub async fn start(
        settings: &Settings,
        roles: &Roles,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let needed = settings.check(roles)?;
        settings.warn();
        let stop = lifecycle.intake();
        let started = Self::start_rooms(settings, needed, roles, telemetry, lifecycle);
        tokio::select! {
            started = started => started,
            () = stop.cancelled() => bail!("told to stop before it had started"),
        }
    }

    async fn start_rooms(
        settings: &Settings,
        needed: Needed,
        roles: &Roles,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let pool = dependencies::database(settings, &needed).await?;
        let vault = dependencies::vault(&pool, &needed).await?;
        let queue = dependencies::queue(settings, roles, &lifecycle).await?;
        let listener = http_server::bind(settings.http.listen).await?;
        let address = listener.local_addr().context("the port that was bound has no address")?;

        let (supporting, drained) = (lifecycle.supporting(), lifecycle.drained());
        let notifier = LogNotifier::between_processes(&pool, supporting, &drained);
        let ground = Ground {
            store: EventStore::new(pool.clone(), notifier.clone()),
            claims: GroupCommit::start(
                AttemptClaimBatch::new(pool.clone(), notifier.clone()),
                COMMITS_MAX,
                Weights::default(),
                supporting,
            ),
            outcomes: GroupCommit::start(
                StreamAppendBatch::new(pool.clone(), notifier.clone()),
                COMMITS_MAX,
                Weights::default(),
                supporting,
            ),
            pool,
            vault,
            queue,
            telemetry,
        };
        ground.keep_up(&lifecycle);
        let projected = match roles.has(Role::Projector) {
            true => ground.start_projector(settings, &lifecycle),
            false => Projected::elsewhere(ground.pool.clone()),
        };
        if roles.has(Role::Dispatcher) {
            ground.start_dispatcher(settings, &lifecycle)?;
        }
        if roles.has(Role::Worker) {
            ground.start_worker(settings, &lifecycle)?;
        }
        let router = match roles.has(Role::Api) {
            true => ground.api(settings, needed.signing_keys, projected, &lifecycle)?,
            false => api::health_router(ground.health(&lifecycle)),
        };
        listen(listener, router, roles, &lifecycle);
        tracing::info!(%roles, %address, "ready");
        Ok(Self { lifecycle, pool: ground.pool, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its life.
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Runs until it is told to stop or a part of it dies.
    pub async fn finish(self) -> Result<(), ShutdownError> {
        let ending = self.lifecycle.finish().await;
        // PostgreSQL is told goodbye; one that is away is not waited for.
        if timeout(GOODBYE_WITHIN, self.pool.close()).await.is_err() {
            tracing::debug!("some connections to PostgreSQL were not closed in time");
        }
        ending
    }
}

/// What the rooms stand on. It is gone once they are started: committers end when their last user does.
struct Ground {
    pool: PgPool,
    store: EventStore,
    claims: GroupCommit<AttemptClaimBatch>,
    outcomes: GroupCommit<StreamAppendBatch>,
    vault: Option<Vault>,
    queue: Option<Arc<dyn JobQueue>>,
    telemetry: Telemetry,
}

impl Ground {
    fn keep_up(&self, lifecycle: &Lifecycle) {
        let keeping_up = self.telemetry.clone().keep_up(self.pool.clone(), lifecycle.drained());
        lifecycle.spawn_supporting("the upkeep of metrics", async {
            keeping_up.await;
            Ok(())
        });
    }

    /// The read models serve the API: they go on until nobody asks any more.
    fn start_projector(&self, settings: &Settings, lifecycle: &Lifecycle) -> Projected {
        let projector = Projector::new(self.pool.clone(), self.store.notifier().clone())
            .sharing(self.store.recent().clone())
            .with_retention_every(settings.retention.every);
        let projected = projector.projected();
        let stop = lifecycle.drained();
        lifecycle.spawn_supporting("the projector", async {
            projector.run(stop).await;
            Ok(())
        });
        projected
    }

    fn start_dispatcher(&self, settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        let dispatcher = Dispatcher::new(
            self.store.clone(),
            self.outcomes.clone(),
            self.queue()?,
            DispatcherSettings {
                breaker_threshold: settings.delivery.breaker_threshold,
                vanished_after: settings.delivery.timeout + settings.delivery.vanished_margin,
                republish_after: settings.delivery.republish_after,
                backoff: settings.retries.backoff(),
                weights: settings.delivery.tenant_weights.clone(),
            },
            lifecycle.working().clone(),
        );
        let stop = lifecycle.intake();
        lifecycle.spawn("the dispatcher", async {
            dispatcher.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    fn start_worker(&self, settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        let client = OutboundClient::new(&OutboundSettings {
            timeout: settings.delivery.timeout,
            insecure: settings.delivery.insecure(),
            proxy: settings.delivery.outbound_proxy.clone(),
            extra_roots: Vec::new(),
        })
        .context("no requests can be made to destinations")?;
        let concurrency = open_files::concurrent_attempts(settings.delivery.worker_concurrency);
        let worker = Worker::new(
            self.pool.clone(),
            self.vault.clone().context("the worker needs a vault")?,
            client,
            self.claims.clone(),
            self.outcomes.clone(),
            self.queue()?,
            WorkerSettings {
                name: worker_name(),
                concurrency,
                payload_bytes: settings.delivery.worker_payload_bytes,
                prefetch: settings.prefetch(),
                backoff: settings.retries.backoff(),
                insecure: settings.delivery.insecure(),
            },
        );
        let stop = lifecycle.intake();
        lifecycle.spawn("the worker", async {
            worker.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    fn api(
        &self,
        settings: &Settings,
        signing_keys: Option<SigningKeys>,
        projected: Projected,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Router> {
        let acceptances = AcceptBatch::new(self.pool.clone(), self.store.notifier().clone());
        Ok(api::router(api::ApiDependencies {
            store: self.store.clone(),
            acceptances: GroupCommit::start(
                acceptances,
                COMMITS_MAX,
                settings.delivery.tenant_weights.clone(),
                lifecycle.supporting(),
            ),
            outcomes: self.outcomes.clone(),
            live: self.start_live(&projected, lifecycle),
            projected,
            vault: self.vault.clone().context("the API needs a vault")?,
            passwords: Passwords::new(settings.passwords.rules())?,
            signing_keys: signing_keys.context("the API needs a signing key")?,
            health: self.health(lifecycle),
            tasks: lifecycle.working().clone(),
            settings: api::ApiSettings::of(settings),
        }))
    }

    /// Streams end when nothing new is taken on: they would never end by themselves.
    fn start_live(&self, projected: &Projected, lifecycle: &Lifecycle) -> Broadcaster {
        let notifier = self.store.notifier().clone();
        let live = Broadcaster::new(self.pool.clone(), notifier, projected, lifecycle.intake());
        let follower = live.clone();
        lifecycle.spawn("the live stream", async move {
            follower.follow().await;
            Ok(())
        });
        live
    }

    fn health(&self, lifecycle: &Lifecycle) -> Health {
        Health {
            pool: self.pool.clone(),
            queue: self.queue.clone(),
            intake: lifecycle.intake(),
            telemetry: self.telemetry.clone(),
        }
    }

    fn queue(&self) -> anyhow::Result<Arc<dyn JobQueue>> {
        self.queue.clone().context("the role needs a queue")
    }
}

/// Serves HTTP. The API takes work from outside and stops first; a process without it answers for its
/// health until its work is done.
fn listen(listener: TcpListener, router: Router, roles: &Roles, lifecycle: &Lifecycle) {
    if roles.has(Role::Api) {
        let serving = http_server::serve(listener, router, lifecycle.intake());
        lifecycle.spawn("the API", async {
            serving.await;
            Ok(())
        });
    } else {
        let serving = http_server::serve(listener, router, lifecycle.drained());
        lifecycle.spawn_supporting("the health endpoint", async {
            serving.await;
            Ok(())
        });
    }
}

/// What facts call this worker: its machine, or container, and its process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "worker" } else { host }, std::process::id())
}
