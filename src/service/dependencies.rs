//! Dependencies that the roles of a process share: database, vault, queue, log and group commits.

use std::sync::Arc;

use anyhow::{Context, bail};
use sqlx::{Connection, PgPool};

use crate::config::{RequiredSettings, Role, Roles, Settings, TenantWeights};
use crate::database;
use crate::event_store::group_commit::{Batch, GroupCommit};
use crate::event_store::{
    self, AttemptClaimBatch, ClaimedPayloadBatch, EventStore, LogNotifier, StreamAppendBatch,
};
use crate::lifecycle::Lifecycle;
use crate::queue::JobQueue;
use crate::queue::in_process::{CAPACITY_DEFAULT, InProcess};
use crate::queue::local_first::LocalFirst;
use crate::queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use crate::secrets::vault::Vault;
use crate::telemetry::Telemetry;
use crate::worker::AttemptBatches;

/// Dependencies of the roles. It is dropped when they have started: group commits end with their last user.
pub(super) struct Dependencies {
    pub(super) pool: PgPool,
    /// Connections for lists, present with the role `api`.
    pub(super) list_pool: Option<PgPool>,
    pub(super) store: EventStore,
    pub(super) batches: AttemptBatches,
    /// Present with the roles `api`, `worker` and `sealer`.
    pub(super) vault: Option<Vault>,
    /// Present with the roles `dispatcher` and `worker`.
    pub(super) queue: Option<Arc<dyn JobQueue>>,
    pub(super) telemetry: Telemetry,
}

impl Dependencies {
    /// Connects to the database and the broker, migrates the schema, and checks the encryption keys.
    pub(super) async fn connect(
        settings: &Settings,
        required: &RequiredSettings,
        roles: &Roles,
        telemetry: Telemetry,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let pool = database(settings, required).await?;
        let vault = vault(&pool, required).await?;
        let queue = queue(settings, roles, lifecycle).await?;
        let notifier = LogNotifier::between_processes(&pool, &lifecycle.supporting(), &lifecycle.drained());
        let claims = AttemptClaimBatch::new(notifier.clone());
        let outcomes = StreamAppendBatch::new(notifier.clone());
        let equal = TenantWeights::default;
        let store = EventStore::new(pool.clone(), notifier);
        let batches = AttemptBatches {
            recent_payloads: store.recent_payloads().clone(),
            claims: group_commit("the committer of claims", claims, &pool, equal(), lifecycle),
            payloads: group_commit("the reader of payloads", ClaimedPayloadBatch, &pool, equal(), lifecycle),
            outcomes: group_commit("the committer of outcomes", outcomes, &pool, equal(), lifecycle),
        };
        let list_pool =
            roles.has(Role::Api).then(|| database::list_pool(&settings.database, &required.database));
        Ok(Self { store, batches, pool, list_pool, vault, queue, telemetry })
    }

    pub(super) fn vault(&self) -> anyhow::Result<Vault> {
        self.vault.clone().context("the role needs a vault")
    }

    pub(super) fn queue(&self) -> anyhow::Result<Arc<dyn JobQueue>> {
        self.queue.clone().context("the role needs a queue")
    }
}

/// Starts a group commit, whose committer is the task `name`.
pub(super) fn group_commit<B: Batch>(
    name: &'static str,
    batch: B,
    pool: &PgPool,
    weights: TenantWeights,
    lifecycle: &Lifecycle,
) -> GroupCommit<B> {
    let (commits, committer) = GroupCommit::new(batch, pool, weights);
    let stop = lifecycle.drained();
    lifecycle.spawn_supporting(name, async {
        committer.run(stop).await;
        Ok(())
    });
    commits
}

/// Returns a pool of connections to a database whose schema is up to date, and whose log can be continued.
async fn database(settings: &Settings, required: &RequiredSettings) -> anyhow::Result<PgPool> {
    let start_timeout = settings.start.timeout;
    let mut connection = database::connect_once(&required.database, start_timeout).await?;
    let migrations = database::migrate(&mut connection).await?;
    if migrations > 0 {
        tracing::info!(migrations, "the database schema is up to date");
    }
    event_store::require_own_log(&mut connection).await?;
    connection.close().await?;
    Ok(database::connect(&settings.database, &required.database, start_timeout).await?)
}

/// Returns a vault with every key that wraps a data key, if a role needs one.
async fn vault(pool: &PgPool, required: &RequiredSettings) -> anyhow::Result<Option<Vault>> {
    let Some(master_keys) = required.master_keys.clone() else { return Ok(None) };
    let vault = Vault::new(pool.clone(), master_keys);
    let missing = vault.missing_master_keys().await.context("the table of data keys cannot be read")?;
    if let Some(missing) = missing.first() {
        bail!(
            "HOOKSENTRY_ENCRYPTION_KEY (--encryption-key) lacks the key {}, which encrypts the secrets of {} \
             tenants: add it after the others, and run `hooksentry rewrap-keys` to retire it",
            missing.master_key,
            missing.data_keys
        );
    }
    Ok(Some(vault))
}

/// Returns the queue, if a role needs one.
async fn queue(
    settings: &Settings,
    roles: &Roles,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Option<Arc<dyn JobQueue>>> {
    if !roles.has(Role::Dispatcher) && !roles.has(Role::Worker) {
        return Ok(None);
    }
    let Some(urls) = settings.queue.amqp_url.clone() else {
        return Ok(Some(Arc::new(InProcess::new(CAPACITY_DEFAULT).for_one_consumer())));
    };
    let rabbitmq_settings = RabbitMqSettings {
        queue_type: settings.queue.queue_type,
        ..RabbitMqSettings::new(urls, settings.queue.prefix.clone())
    };
    let (tasks, stop) = (lifecycle.supporting(), lifecycle.drained());
    let broker = RabbitMq::connect(rabbitmq_settings, settings.start.timeout, &tasks, stop).await?;
    let has_both = roles.has(Role::Dispatcher) && roles.has(Role::Worker);
    Ok(Some(if has_both { Arc::new(LocalFirst::new(Arc::new(broker))) } else { Arc::new(broker) }))
}
