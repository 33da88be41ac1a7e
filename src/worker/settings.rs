//! Cache of the settings of attempts: URL, decrypted credentials and secrets, limits.
//!
//! An entry may be outdated. It carries the versions of the destination and the tenant at which it was read,
//! and the claim of an attempt checks them; so an attempt never uses settings that were not in force when it
//! was claimed.

use std::sync::Arc;
use std::time::Duration;

use aggregates::destination_url::{DestinationUrl, DestinationUrlProblem};
use aggregates::ids::DestinationId;
use aggregates::outbound_credentials::OutboundCredentials;
use aggregates::target_rules::TargetRules;
use moka::sync::Cache;
use projections::delivery_settings;
use sqlx::PgPool;
use thiserror::Error;

use super::log_settings::{self, LogSettingsFailure};
use super::signature::SigningSecrets;
use crate::clock;
use crate::database;
use crate::secrets::vault::{Vault, VaultFailure};

/// Time within which the database must answer to count as available.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of destinations in the cache.
const CACHED_MAX: u64 = 10_000;

/// Settings of the attempts to one destination.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) destination_version: u64,
    pub(super) tenant_version: u64,
    /// Version of the destination at which it entered its current stage or got its limit.
    pub(super) stage_version: u64,
    pub(super) tenant_is_suspended: bool,
    pub(super) max_attempts: u32,
    /// The error says why no request can be sent.
    pub(super) sending: Result<Sending, String>,
}

/// Settings of requests.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) url: DestinationUrl,
    pub(super) credentials: Option<Arc<OutboundCredentials>>,
    pub(super) secrets: SigningSecrets,
    /// End of the time during which `secrets.previous` signs, too.
    pub(super) previous_signs_until: Option<chrono::DateTime<chrono::Utc>>,
}

/// Error of reading settings. The attempt has not begun.
#[derive(Debug, Error)]
pub(super) enum SettingsFailure {
    #[error("the destination's settings cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] LogSettingsFailure),
    #[error("the log does not have the destination")]
    Unknown,
    #[error("the destination's secrets cannot be decrypted now")]
    Vault(#[source] VaultFailure),
}

#[derive(Debug, Error)]
enum InvalidSettings {
    #[error("the URL is not allowed: {0}")]
    Url(#[from] DestinationUrlProblem),
    #[error("the stored credentials are invalid for their type")]
    Credentials,
    #[error("the stored secrets cannot be decrypted: {0}")]
    Vault(#[from] VaultFailure),
}

/// Reads and caches settings.
pub(super) struct SettingsCache {
    pool: PgPool,
    vault: Vault,
    rules: TargetRules,
    cached: Cache<DestinationId, Arc<Settings>>,
}

impl SettingsCache {
    pub(super) fn new(pool: PgPool, vault: Vault, rules: TargetRules) -> Self {
        Self { pool, vault, rules, cached: Cache::new(CACHED_MAX) }
    }

    /// Whether the database answers a connection of this pool.
    pub(super) async fn is_database_available(&self) -> bool {
        let answer = sqlx::query("SELECT 1").execute(&self.pool);
        matches!(tokio::time::timeout(ANSWER_TIMEOUT, answer).await, Ok(Ok(_)))
    }

    /// Returns the settings of a destination if they are cached, possibly outdated.
    pub(super) fn cached(&self, id: DestinationId) -> Option<Arc<Settings>> {
        self.cached.get(&id)
    }

    /// Returns the settings of a destination from the cache, possibly outdated.
    ///
    /// # Errors
    /// When they are not cached and cannot be read.
    pub(super) async fn get(&self, id: DestinationId) -> Result<Arc<Settings>, SettingsFailure> {
        match self.cached(id) {
            Some(settings) => Ok(settings),
            None => self.read(id).await,
        }
    }

    /// Reads the settings of a destination from the read models into the cache; from the log if they do not have
    /// it yet.
    ///
    /// # Errors
    /// When they cannot be read, or the database fails while secrets are decrypted.
    pub(super) async fn read(&self, id: DestinationId) -> Result<Arc<Settings>, SettingsFailure> {
        let row = database::in_time(database::SHORT, async {
            delivery_settings::get(&mut *self.pool.acquire().await?, id).await
        });
        match row.await? {
            Some(row) => self.cache(id, row).await,
            None => self.read_from_log(id).await,
        }
    }

    /// Reads the settings of a destination from the log into the cache.
    ///
    /// # Errors
    /// When they cannot be read, or the database fails while secrets are decrypted.
    pub(super) async fn read_from_log(&self, id: DestinationId) -> Result<Arc<Settings>, SettingsFailure> {
        let row = database::in_time(database::SHORT, async {
            let mut connection = self.pool.acquire().await?;
            log_settings::read(&mut connection, id).await.map_err(SettingsFailure::from)
        });
        self.cache(id, row.await?.ok_or(SettingsFailure::Unknown)?).await
    }

    async fn cache(
        &self,
        id: DestinationId,
        row: delivery_settings::DeliverySettings,
    ) -> Result<Arc<Settings>, SettingsFailure> {
        let sending = match self.open(id, &row).await {
            Ok(sending) => Ok(sending),
            // A failure of the database is temporary; the others are permanent.
            Err(InvalidSettings::Vault(failure @ VaultFailure::Database(_))) => {
                return Err(SettingsFailure::Vault(failure));
            }
            Err(invalid) => Err(invalid.to_string()),
        };
        let settings = Arc::new(Settings {
            destination_version: row.destination_version,
            tenant_version: row.tenant_version,
            stage_version: row.stage_version,
            tenant_is_suspended: row.tenant_is_suspended,
            max_attempts: row.resilience.max_attempts,
            sending,
        });
        self.cached.insert(id, Arc::clone(&settings));
        Ok(settings)
    }

    async fn open(
        &self,
        id: DestinationId,
        row: &delivery_settings::DeliverySettings,
    ) -> Result<Sending, InvalidSettings> {
        let url = DestinationUrl::parse(&row.url, &self.rules)?;
        let credentials = match &row.auth {
            None => None,
            Some(auth) => {
                let context = format!("destination:{id}");
                let plaintext = self.vault.open_text(row.tenant_id, &context, &auth.credentials).await?;
                let credentials = OutboundCredentials::from_plaintext(&plaintext)
                    .map_err(|_| InvalidSettings::Credentials)?;
                Some(Arc::new(credentials))
            }
        };
        let context = "webhook-secret";
        let current = self.vault.open_text(row.tenant_id, context, &row.webhook_secret.sealed).await?;
        let now = clock::now();
        let (previous, previous_signs_until) = match &row.previous_secret {
            Some(previous) if previous.signs_until > now => (
                Some(self.vault.open_text(row.tenant_id, context, &previous.secret.sealed).await?),
                Some(previous.signs_until),
            ),
            _ => (None, None),
        };
        let secrets = SigningSecrets { current, previous };
        Ok(Sending { url, credentials, secrets, previous_signs_until })
    }
}

impl Sending {
    /// Returns the secrets that sign at `now`.
    pub(super) fn secrets_at(&self, now: chrono::DateTime<chrono::Utc>) -> SigningSecrets {
        let overlaps = self.previous_signs_until.is_some_and(|until| until > now);
        SigningSecrets {
            current: self.secrets.current.clone(),
            previous: self.secrets.previous.clone().filter(|_| overlaps),
        }
    }
}
