//! Start of the roles of a process.

use std::num::NonZeroU16;

use anyhow::Context;
use axum::Router;
use hooksentry_dashboard::SignInLinks;
use tokio::net::TcpListener;

use super::dependencies::{Dependencies, group_commit};
use crate::api::{self, StorageLimit};
use crate::completeness::CompletenessCheck;
use crate::config::{MetricsAccess, Settings};
use crate::dispatcher::Dispatcher;
use crate::event_store::group_commit::CommitActivity;
use crate::event_store::{AcceptBatch, AcceptQueue, Acceptances, AcceptedSize, QueueLimits, SmallTraffic};
use crate::health::Health;
use crate::http_server::{self, ConnectionLimits};
use crate::leadership::LeadershipStatus;
use crate::lifecycle::Lifecycle;
use crate::live::Broadcaster;
use crate::open_files::OpenFiles;
use crate::projector::{Projected, Projector};
use crate::sealer::{Sealer, TimeStamping, Witnesses};
use crate::secrets::passwords::Passwords;
use crate::secrets::signing_keys::SigningKeys;
use crate::worker::{AttemptBatches, Worker};

pub(super) struct RoleStarter<'a> {
    pub(super) settings: &'a Settings,
    open_files: OpenFiles,
    pub(super) dependencies: &'a Dependencies,
    pub(super) lifecycle: &'a Lifecycle,
    /// What health checks report on.
    commits: Vec<(&'static str, CommitActivity)>,
    leads: Vec<(&'static str, LeadershipStatus)>,
    /// Links of the dashboard that sign in once.
    pub(super) sign_in_links: SignInLinks,
}

impl<'a> RoleStarter<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        open_files: OpenFiles,
        dependencies: &'a Dependencies,
        lifecycle: &'a Lifecycle,
    ) -> Self {
        let AttemptBatches { claims, payloads, outcomes, .. } = &dependencies.batches;
        let commits = vec![
            ("claims", claims.activity().clone()),
            ("payloads", payloads.activity().clone()),
            ("outcomes", outcomes.activity().clone()),
        ];
        let sign_in_links = SignInLinks::default();
        Self { settings, open_files, dependencies, lifecycle, commits, leads: Vec::new(), sign_in_links }
    }

    pub(super) fn start_metrics_upkeep(&self) {
        let Dependencies { telemetry, pool, .. } = self.dependencies;
        let upkeep = telemetry.clone().keep_up(pool.clone(), self.lifecycle.drained());
        self.lifecycle.spawn_supporting("the upkeep of metrics", async {
            upkeep.await;
            Ok(())
        });
    }

    /// The projector supports the API, which waits for the read models, so it stops after the API.
    pub(super) fn start_projector(&mut self) -> Projected {
        let Dependencies { pool, store, .. } = self.dependencies;
        let projector = Projector::new(pool.clone(), store.notifier().clone())
            .sharing(store.recent().clone())
            .with_retention_every(self.settings.retention.every);
        let projected = projector.projected();
        self.leads.push(("projector", projector.leadership_status().clone()));
        let stop = self.lifecycle.drained();
        self.lifecycle.spawn_supporting("the projector", async {
            projector.run(stop).await;
            Ok(())
        });
        projected
    }

    pub(super) fn start_completeness_check(&self) {
        let check = CompletenessCheck::new(self.dependencies.pool.clone());
        let stop = self.lifecycle.drained();
        self.lifecycle.spawn_supporting("the completeness check", async {
            check.run(stop).await;
            Ok(())
        });
    }

    pub(super) fn start_dispatcher(&mut self) -> anyhow::Result<()> {
        let store = self.dependencies.store.clone();
        let tasks = self.lifecycle.working_helpers();
        let dispatcher = Dispatcher::new(store, self.dependencies.queue()?, self.settings, tasks);
        self.leads.push(("dispatcher", dispatcher.leadership_status().clone()));
        let stop = self.lifecycle.intake();
        self.lifecycle.spawn("the dispatcher", async {
            dispatcher.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    pub(super) fn start_worker(&self) -> anyhow::Result<()> {
        let Dependencies { pool, store, batches, .. } = self.dependencies;
        let worker = Worker::new(
            pool.clone(),
            self.dependencies.vault()?,
            batches.clone(),
            self.dependencies.queue()?,
            self.settings,
            NonZeroU16::new(self.open_files.attempts).unwrap_or(NonZeroU16::MIN),
        )
        .context("the HTTP client for destinations cannot be created")?;
        let (first_attempts, stop) = (store.first_attempts().clone(), self.lifecycle.intake());
        self.lifecycle.spawn("the worker", async {
            worker.run(first_attempts, stop).await;
            Ok(())
        });
        Ok(())
    }

    pub(super) fn start_sealer(&mut self) -> anyhow::Result<()> {
        let (pool, vault) = (self.dependencies.pool.clone(), self.dependencies.vault()?);
        let evidence = &self.settings.evidence;
        let witnesses = Witnesses::read(evidence).context("HOOKSENTRY_WITNESS_POLICY cannot be used")?;
        let time_stamping =
            TimeStamping::of(evidence).context("the HTTP client for HOOKSENTRY_TSA_URL cannot be created")?;
        let sealer =
            Sealer::new(pool, vault, evidence).with_witnesses(witnesses).with_time_stamping(time_stamping);
        self.leads.push(("sealer", sealer.leadership_status().clone()));
        let stop = self.lifecycle.drained();
        self.lifecycle.spawn_supporting("the sealer", async {
            sealer.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// The API accepts work, so it stops first.
    pub(super) fn start_api(
        &mut self,
        listener: TcpListener,
        signing_keys: Option<SigningKeys>,
        projected: Projected,
    ) -> anyhow::Result<()> {
        let router = self.api(signing_keys, projected)?;
        let serving = http_server::serve(listener, router, self.connection_limits(), self.lifecycle.intake());
        self.lifecycle.spawn("the API", async {
            serving.await;
            Ok(())
        });
        Ok(())
    }

    /// Serves health checks and metrics until the work of the process is done.
    pub(super) fn start_health_endpoint(&self, listener: TcpListener, metrics: MetricsAccess) {
        let router = api::health_router(self.health(), metrics);
        let serving =
            http_server::serve(listener, router, self.connection_limits(), self.lifecycle.drained());
        self.lifecycle.spawn_supporting("the health endpoint", async {
            serving.await;
            Ok(())
        });
    }

    fn connection_limits(&self) -> ConnectionLimits {
        let http = &self.settings.http;
        ConnectionLimits {
            connections_max: self.open_files.connections,
            connections_per_peer_max: http.connections_per_peer,
            unlimited_peers: http.unlimited_peers(),
        }
    }

    fn api(&mut self, signing_keys: Option<SigningKeys>, projected: Projected) -> anyhow::Result<Router> {
        let Dependencies { pool, store, batches, .. } = self.dependencies;
        let small = SmallTraffic::default();
        let committer = |name, size| {
            let batch = AcceptBatch::new(size, store.notifier().clone()).handing_over(store);
            group_commit(name, batch, pool, self.settings.delivery.tenant_weights.clone(), self.lifecycle)
        };
        let requests = &self.settings.requests;
        let limits = QueueLimits { delay: requests.ingest_delay, waiting_max: requests.ingest_waiting };
        let acceptances = Acceptances {
            small: committer("the committer of webhooks", AcceptedSize::Small(small.clone())),
            large: committer("the committer of large webhooks", AcceptedSize::Large(small)),
            queue: AcceptQueue::new(limits, self.settings.delivery.tenant_weights.clone()),
        };
        self.commits.extend(acceptances.activities());
        Ok(api::router(api::ApiDependencies {
            store: store.clone(),
            list_pool: self.dependencies.list_pool.clone().context("the API needs connections for lists")?,
            storage: self.start_storage_limit(),
            acceptances,
            outcomes: batches.outcomes.clone(),
            live: self.start_live_stream(&projected),
            projected,
            vault: self.dependencies.vault()?,
            passwords: Passwords::new(self.settings.passwords.rules())?,
            signing_keys: signing_keys.context("the API needs a signing key")?,
            health: self.health(),
            tasks: self.lifecycle.working().clone(),
            sign_in_links: self.sign_in_links.clone(),
            settings: api::ApiSettings::of(self.settings),
        }))
    }

    /// Live streams never end by themselves, so they end as soon as the process accepts no new work.
    fn start_live_stream(&self, projected: &Projected) -> Broadcaster {
        let Dependencies { pool, store, .. } = self.dependencies;
        let live =
            Broadcaster::new(pool.clone(), store.notifier().clone(), projected, self.lifecycle.intake());
        let follower = live.clone();
        self.lifecycle.spawn("the live stream", async move {
            follower.follow().await;
            Ok(())
        });
        live
    }

    fn start_storage_limit(&self) -> StorageLimit {
        let limit = StorageLimit::new(self.settings.tenants.payload_bytes());
        let reading = limit.clone().keep_current(self.dependencies.pool.clone(), self.lifecycle.intake());
        self.lifecycle.spawn("the limit of stored payloads", async {
            reading.await;
            Ok(())
        });
        limit
    }

    fn health(&self) -> Health {
        let Dependencies { pool, queue, telemetry, .. } = self.dependencies;
        Health {
            pool: pool.clone(),
            queue: queue.clone(),
            intake: self.lifecycle.intake(),
            telemetry: telemetry.clone(),
            commits: self.commits.clone(),
            leads: self.leads.clone(),
        }
    }
}
