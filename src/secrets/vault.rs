//! The vault: envelope encryption of secrets that have to be used or shown again.
//!
//! Facts are immutable, so the secrets in them must stay readable when the operator replaces a key. Hence a
//! secret is sealed with a *data key*, of which each tenant has one, and the data key is wrapped with a
//! *master key* of the operator. A fact names the data key. Replacing a master key rewraps the rows of
//! `data_keys` ([`super::rewrap`]) and changes no fact; deleting a tenant's data key makes its secrets
//! unreadable permanently, also in backups of the log.
//!
//! Every ciphertext is bound to its tenant, its data key and its use (the `context`, such as
//! `destination:<id>`): it does not open in another row.
//!
//! The vault acquires connections from the pool. A caller must not hold a connection while it seals or opens,
//! or concurrent callers could exhaust the pool and deadlock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::email::Email;
use aggregates::ids::{TenantId, WebhookEventId};
use aggregates::sealed::Sealed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::leaf::EvidenceKey;
use moka::sync::Cache;
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use super::cipher::{Key, NotAuthentic, TooLong};
use super::data_keys::{self, KeysUnder, WrappedKey};
use super::event_ids::EventIdSecret;
use super::master_keys::{MasterKeyId, MasterKeys, NotUnwrapped};
use super::salt::hmac_sha256;
use crate::database;
use crate::identifiers;

/// Domain separator in the authenticated data of a secret, before tenant, data key and context.
const BOUND_TO: &[u8] = b"hooksentry secret v1";
/// Purpose of a tenant's evidence key in its derivation from the data key. Changing it makes all leaves unverifiable.
const EVIDENCE_KEY: &[u8] = b"hooksentry evidence key v1";
/// Purpose of the key of email reservations in its derivation from the installation's data key. Changing it makes all
/// reserved addresses available again.
const EMAIL_RESERVATIONS: &[u8] = b"hooksentry email reservations v1";
/// Owner of the installation's data key.
const INSTALLATION: TenantId = TenantId(Uuid::nil());
/// Maximum number of cached data keys, about 250 bytes each.
const CACHED_KEYS_MAX: u64 = 10_000;
/// Time after which a cached data key is dropped, and a deleted one is unusable in all processes.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// Seals and opens the secrets of tenants.
#[derive(Clone)]
pub struct Vault {
    pool: PgPool,
    master_keys: MasterKeys,
    unwrapped: Cache<TenantId, Arc<DataKey>>,
}

struct DataKey {
    id: Uuid,
    key: Key,
    event_ids: EventIdSecret,
}

/// Error of sealing or opening a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultFailure {
    /// The data key that a sealed secret names belongs to another tenant, or was deleted.
    #[error("the data key {data_key} does not exist for this tenant")]
    UnknownDataKey { data_key: Uuid },
    #[error(
        "the data key {data_key} is wrapped under the master key {master_key}, which is not among those given"
    )]
    UnknownMasterKey { data_key: Uuid, master_key: MasterKeyId },
    #[error("the data key {data_key} is damaged")]
    DamagedDataKey { data_key: Uuid },
    /// The ids of its events follow from a data key that was deleted. Another one would make repeated webhooks new.
    #[error("the tenant has no data key")]
    NoDataKey,
    #[error("the sealed secret was altered, or sealed for another tenant or another use")]
    NotAuthentic,
    #[error("the sealed secret is not text")]
    NotText,
    #[error("the secret is too long to be sealed")]
    TooLong,
    #[error("the table of data keys cannot be read or written")]
    Database(#[from] sqlx::Error),
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("master_keys", &self.master_keys).finish_non_exhaustive()
    }
}

impl From<NotAuthentic> for VaultFailure {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

impl From<TooLong> for VaultFailure {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl Vault {
    /// Returns a vault with the data keys in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, master_keys: MasterKeys) -> Self {
        let unwrapped = Cache::builder().max_capacity(CACHED_KEYS_MAX).time_to_live(CACHED_FOR).build();
        Self { pool, master_keys, unwrapped }
    }

    /// Seals a secret of `tenant` for the use that `context` names. Creates the tenant's data key if it has
    /// none.
    ///
    /// # Errors
    /// When the data key cannot be read, created or unwrapped, or the secret is too long.
    pub async fn seal(
        &self,
        tenant: TenantId,
        context: &str,
        plaintext: &[u8],
    ) -> Result<Sealed, VaultFailure> {
        let data_key = match self.unwrapped.get(&tenant) {
            Some(data_key) => data_key,
            None => self.find_or_create(tenant).await?,
        };
        let ciphertext = data_key.key.seal(&bound_to(tenant, data_key.id, context), plaintext)?;
        Ok(Sealed { data_key: data_key.id, ciphertext: STANDARD.encode(ciphertext) })
    }

    /// Opens a secret that was sealed for the same tenant and context.
    ///
    /// # Errors
    /// When the data key cannot be read or unwrapped, or the secret is not authentic.
    pub async fn open(
        &self,
        tenant: TenantId,
        context: &str,
        sealed: &Sealed,
    ) -> Result<SecretSlice<u8>, VaultFailure> {
        let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(|_| VaultFailure::NotAuthentic)?;
        let cached = self.unwrapped.get(&tenant).filter(|data_key| data_key.id == sealed.data_key);
        let data_key = match cached {
            Some(data_key) => data_key,
            None => self.find(tenant, sealed.data_key).await?,
        };
        Ok(data_key.key.open(&bound_to(tenant, data_key.id, context), &ciphertext)?)
    }

    /// Opens a secret that is text.
    ///
    /// # Errors
    /// As [`Self::open`], and when it is not UTF-8.
    pub async fn open_text(
        &self,
        tenant: TenantId,
        context: &str,
        sealed: &Sealed,
    ) -> Result<SecretString, VaultFailure> {
        let bytes = self.open(tenant, context, sealed).await?;
        let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| VaultFailure::NotText)?;
        Ok(SecretString::from(text))
    }

    /// Returns the evidence key of `tenant` and the id of the data key that it follows from: of `data_key`, or else of the
    /// tenant's own one, created if there is none. When the data key is deleted, so is the evidence key.
    ///
    /// # Errors
    /// [`VaultFailure::UnknownDataKey`] if the data key was deleted; the data key cannot be read, created or unwrapped.
    pub async fn evidence_key(
        &self,
        tenant: TenantId,
        data_key: Option<Uuid>,
    ) -> Result<(Uuid, EvidenceKey), VaultFailure> {
        let cached = self.unwrapped.get(&tenant).filter(|key| data_key.is_none_or(|id| id == key.id));
        let data_key = match (cached, data_key) {
            (Some(data_key), _) => data_key,
            (None, Some(id)) => self.find(tenant, id).await?,
            (None, None) => self.find_or_create(tenant).await?,
        };
        let mut evidence_key = data_key.key.derive(EVIDENCE_KEY);
        let key = EvidenceKey::new(&evidence_key);
        evidence_key.zeroize();
        Ok((data_key.id, key))
    }

    /// Returns the id of the stream that makes an email address unique. It follows from the data key of the installation,
    /// which is created if there is none, so a reader of the log cannot test whether an address is in use.
    ///
    /// # Errors
    /// The data key cannot be read, created or unwrapped.
    pub async fn email_reservation(&self, email: &Email) -> Result<Uuid, VaultFailure> {
        let data_key = match self.unwrapped.get(&INSTALLATION) {
            Some(data_key) => data_key,
            None => self.find_or_create(INSTALLATION).await?,
        };
        let mut key = data_key.key.derive(EMAIL_RESERVATIONS);
        let mac = hmac_sha256(&key, &[email.as_str().as_bytes()]);
        key.zeroize();
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        Ok(uuid::Builder::from_custom_bytes(id).into_uuid())
    }

    /// Returns the id of the webhook event of `tenant` with this idempotency key, which is always the same. It follows from
    /// the tenant's data key, so a reader of the log cannot test whether a guess of the key is right. A tenant has a data
    /// key since its registration: none is created here, because with another one every repeated webhook would be new.
    ///
    /// # Errors
    /// [`VaultFailure::NoDataKey`] if the data key was deleted; it cannot be read or unwrapped.
    pub async fn event_id(
        &self,
        tenant: TenantId,
        idempotency_key: &str,
    ) -> Result<WebhookEventId, VaultFailure> {
        let data_key = match self.unwrapped.get(&tenant) {
            Some(data_key) => data_key,
            None => self.unwrap(&self.wrapped(tenant).await?.ok_or(VaultFailure::NoDataKey)?)?,
        };
        Ok(data_key.event_ids.id(idempotency_key))
    }

    /// Returns the master keys that wrap data keys and are not configured. The secrets of those data keys
    /// cannot be opened.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_master_keys(&self) -> Result<Vec<KeysUnder>, sqlx::Error> {
        let mut used = data_keys::count_by_master_key(&mut *self.pool.acquire().await?).await?;
        used.retain(|under| !self.master_keys.knows(&under.master_key));
        Ok(used)
    }

    /// Returns the tenant's data key, created if there is none.
    async fn find_or_create(&self, tenant: TenantId) -> Result<Arc<DataKey>, VaultFailure> {
        let mut connection = self.pool.acquire().await?;
        if let Some(wrapped) = data_keys::find(&mut connection, tenant).await? {
            return self.unwrap(&wrapped);
        }
        let id = identifiers::new_id();
        let wrapped = self.master_keys.wrap(id, tenant, &Key::generate())?;
        let wrapped_under = self.master_keys.first().clone();
        let offered = WrappedKey { id, tenant_id: tenant, wrapped_under, wrapped };
        data_keys::offer(&mut connection, &offered).await?;
        // Another process may have created one first; the key in the table is valid.
        let kept = data_keys::find(&mut connection, tenant).await?;
        self.unwrap(&kept.ok_or(VaultFailure::UnknownDataKey { data_key: id })?)
    }

    /// Returns the tenant's data key, which must have that id.
    async fn find(&self, tenant: TenantId, id: Uuid) -> Result<Arc<DataKey>, VaultFailure> {
        let found = self.wrapped(tenant).await?;
        let wrapped =
            found.filter(|key| key.id == id).ok_or(VaultFailure::UnknownDataKey { data_key: id })?;
        self.unwrap(&wrapped)
    }

    async fn wrapped(&self, tenant: TenantId) -> Result<Option<WrappedKey>, sqlx::Error> {
        database::in_time(database::SHORT, async {
            data_keys::find(&mut *self.pool.acquire().await?, tenant).await
        })
        .await
    }

    fn unwrap(&self, wrapped: &WrappedKey) -> Result<Arc<DataKey>, VaultFailure> {
        let key = unwrap(&self.master_keys, wrapped)?;
        let event_ids = EventIdSecret::of(&key);
        let data_key = Arc::new(DataKey { id: wrapped.id, key, event_ids });
        self.unwrapped.insert(wrapped.tenant_id, Arc::clone(&data_key));
        Ok(data_key)
    }
}

/// Unwraps a data key.
pub(super) fn unwrap(master_keys: &MasterKeys, wrapped: &WrappedKey) -> Result<Key, VaultFailure> {
    let WrappedKey { id, tenant_id, wrapped_under, wrapped } = wrapped;
    master_keys.unwrap(*id, *tenant_id, wrapped_under, wrapped).map_err(|problem| match problem {
        NotUnwrapped::UnknownMasterKey => {
            VaultFailure::UnknownMasterKey { data_key: *id, master_key: wrapped_under.clone() }
        }
        NotUnwrapped::NotAuthentic(_) => VaultFailure::DamagedDataKey { data_key: *id },
    })
}

/// Returns the authenticated data of a secret. Fields of fixed length come first, so that no two uses have
/// the same bytes.
fn bound_to(tenant: TenantId, data_key: Uuid, context: &str) -> Vec<u8> {
    [BOUND_TO, tenant.0.as_bytes(), data_key.as_bytes(), context.as_bytes()].concat()
}
