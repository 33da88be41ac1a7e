//! What the service needs from outside: reached and judged before anything starts.

use std::sync::Arc;

use anyhow::{Context, bail};
use sqlx::{Connection, PgPool};

use crate::config::{Needed, Role, Roles, Settings};
use crate::database;
use crate::lifecycle::Lifecycle;
use crate::queue::JobQueue;
use crate::queue::in_process::{CAPACITY_DEFAULT, InProcess};
use crate::queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use crate::secrets::vault::Vault;

/// A pool of connections to a database whose schema is up to date.
pub(super) async fn database(settings: &Settings, needed: &Needed) -> anyhow::Result<PgPool> {
    let patience = settings.start.timeout;
    let mut connection = database::connect_once(&needed.database, patience).await?;
    let migrations = database::migrate(&mut connection).await?;
    if migrations > 0 {
        tracing::info!(migrations, "the database schema is up to date");
    }
    connection.close().await?;
    Ok(database::connect(&settings.database, &needed.database, patience).await?)
}

/// A vault with every key that its data keys are wrapped under, where a role needs one.
pub(super) async fn vault(pool: &PgPool, needed: &Needed) -> anyhow::Result<Option<Vault>> {
    let Some(master_keys) = needed.master_keys.clone() else { return Ok(None) };
    let vault = Vault::new(pool.clone(), master_keys);
    let missing = vault.missing_master_keys().await.context("the table of data keys cannot be read")?;
    if let Some(missing) = missing.first() {
        bail!(
            "HOOKSENTRY_ENCRYPTION_KEY (--encryption-key) lacks the key {}, under which the secrets of {} \
             tenants are encrypted: add it behind the others, and run `hooksentry rewrap-keys` if it is to go",
            missing.master_key,
            missing.data_keys
        );
    }
    Ok(Some(vault))
}

/// The queue, where a role needs one.
pub(super) async fn queue(
    settings: &Settings,
    roles: &Roles,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Option<Arc<dyn JobQueue>>> {
    if !roles.has(Role::Dispatcher) && !roles.has(Role::Worker) {
        return Ok(None);
    }
    let Some(urls) = settings.queue.amqp_url.clone() else {
        return Ok(Some(Arc::new(InProcess::new(CAPACITY_DEFAULT))));
    };
    let settings_of_queue = RabbitMqSettings::new(urls, settings.queue.prefix.clone());
    let patience = settings.start.timeout;
    let (tasks, stop) = (lifecycle.supporting(), lifecycle.drained());
    Ok(Some(Arc::new(RabbitMq::connect(settings_of_queue, patience, tasks, stop).await?)))
}
