//! The vault: secrets that must be used or shown again, sealed until then.
//!
//! Facts are immutable, so what they hold must outlive the key that an operator retires. Hence an
//! envelope: a secret is sealed under a *data key*, of which each tenant has one, and the data key is
//! wrapped under a *master key* of the operator. A fact names the data key. Retiring a master key
//! re-wraps the rows of `data_keys` ([`super::rewrap`]) and touches no fact; deleting a tenant's data
//! key makes its secrets unreadable for good, also in backups of the log.
//!
//! Every ciphertext is bound to its tenant, its data key and its use (the `context`, such as
//! `destination:<id>`): moved to another row, it does not open.
//!
//! The vault takes connections from the pool. A caller that holds one itself seals and opens before it
//! begins its transaction, or many callers at once could wait for one another for ever.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::TenantId;
use aggregates::sealed::Sealed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use super::cipher::{Key, NotAuthentic, TooLong};
use super::data_keys::{self, KeysUnder, WrappedKey};
use super::master_keys::{MasterKeyId, MasterKeys, NotUnwrapped};
use crate::identifiers;

/// What a sealed secret is bound to, before tenant, data key and context.
const BOUND_TO: &[u8] = b"hooksentry secret v1";
/// Unwrapped data keys that are kept at hand, about 200 bytes each.
const CACHED_KEYS_MAX: u64 = 10_000;
/// For how long: the time after which a deleted data key is forgotten everywhere.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// Seals and opens secrets.
#[derive(Clone)]
pub struct Vault {
    pool: PgPool,
    master_keys: MasterKeys,
    unwrapped: Cache<TenantId, Arc<DataKey>>,
}

struct DataKey {
    id: Uuid,
    key: Key,
}

/// Why a secret was not sealed or not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultFailure {
    /// The data key that a sealed secret names is not the tenant's, or is gone.
    #[error("the data key {data_key} does not exist for this tenant")]
    UnknownDataKey { data_key: Uuid },
    /// The data key is wrapped under a master key that we were not given.
    #[error(
        "the data key {data_key} is wrapped under the master key {master_key}, which is not among those given"
    )]
    UnknownMasterKey { data_key: Uuid, master_key: MasterKeyId },
    /// The row of the data key was altered.
    #[error("the data key {data_key} is damaged")]
    DamagedDataKey { data_key: Uuid },
    /// The sealed secret was altered, or sealed for another tenant or another use.
    #[error("the sealed secret does not belong here or was altered")]
    NotAuthentic,
    /// The secret was to be text and is not.
    #[error("the sealed secret is not text")]
    NotText,
    /// Too long to be sealed.
    #[error("the secret is too long to be sealed")]
    TooLong,
    /// The table of data keys cannot be reached.
    #[error("the table of data keys cannot be used")]
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
    /// A vault over the data keys in `pool`.
    #[must_use]
    pub fn new(pool: PgPool, master_keys: MasterKeys) -> Self {
        let unwrapped = Cache::builder().max_capacity(CACHED_KEYS_MAX).time_to_live(CACHED_FOR).build();
        Self { pool, master_keys, unwrapped }
    }

    /// Seals a secret of `tenant` for the use that `context` names. The tenant's first secret makes its
    /// data key.
    pub async fn seal(
        &self,
        tenant: TenantId,
        context: &str,
        plaintext: &[u8],
    ) -> Result<Sealed, VaultFailure> {
        let data_key = match self.unwrapped.get(&tenant) {
            Some(data_key) => data_key,
            None => self.obtain(tenant).await?,
        };
        let ciphertext = data_key.key.seal(&bound_to(tenant, data_key.id, context), plaintext)?;
        Ok(Sealed { data_key: data_key.id, ciphertext: STANDARD.encode(ciphertext) })
    }

    /// Opens what was sealed for the same tenant and context.
    pub async fn open(
        &self,
        tenant: TenantId,
        context: &str,
        sealed: &Sealed,
    ) -> Result<SecretSlice<u8>, VaultFailure> {
        let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(|_| VaultFailure::NotAuthentic)?;
        let at_hand = self.unwrapped.get(&tenant).filter(|data_key| data_key.id == sealed.data_key);
        let data_key = match at_hand {
            Some(data_key) => data_key,
            None => self.recall(tenant, sealed.data_key).await?,
        };
        Ok(data_key.key.open(&bound_to(tenant, data_key.id, context), &ciphertext)?)
    }

    /// Opens a secret that is text.
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

    /// The master keys that wrap data keys and are not among those given: what they wrap cannot be
    /// opened.
    pub async fn missing_master_keys(&self) -> Result<Vec<KeysUnder>, sqlx::Error> {
        let mut used = data_keys::count_by_master_key(&mut *self.pool.acquire().await?).await?;
        used.retain(|under| !self.master_keys.knows(&under.master_key));
        Ok(used)
    }

    /// The tenant's data key, made if there is none.
    async fn obtain(&self, tenant: TenantId) -> Result<Arc<DataKey>, VaultFailure> {
        let mut connection = self.pool.acquire().await?;
        if let Some(wrapped) = data_keys::find(&mut connection, tenant).await? {
            return self.unwrap(&wrapped);
        }
        let id = identifiers::new_id();
        let wrapped = self.master_keys.wrap(id, tenant, &Key::generate())?;
        let wrapped_under = self.master_keys.first().clone();
        let offered = WrappedKey { id, tenant_id: tenant, wrapped_under, wrapped };
        data_keys::offer(&mut connection, &offered).await?;
        // Somebody else may have been first; what stands in the table is the key.
        let kept = data_keys::find(&mut connection, tenant).await?;
        self.unwrap(&kept.ok_or(VaultFailure::UnknownDataKey { data_key: id })?)
    }

    /// The data key of that id, if it is the tenant's.
    async fn recall(&self, tenant: TenantId, id: Uuid) -> Result<Arc<DataKey>, VaultFailure> {
        let found = data_keys::find(&mut *self.pool.acquire().await?, tenant).await?;
        let wrapped =
            found.filter(|key| key.id == id).ok_or(VaultFailure::UnknownDataKey { data_key: id })?;
        self.unwrap(&wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedKey) -> Result<Arc<DataKey>, VaultFailure> {
        let data_key = Arc::new(DataKey { id: wrapped.id, key: unwrap(&self.master_keys, wrapped)? });
        self.unwrapped.insert(wrapped.tenant_id, Arc::clone(&data_key));
        Ok(data_key)
    }
}

/// The data key itself.
pub(super) fn unwrap(master_keys: &MasterKeys, wrapped: &WrappedKey) -> Result<Key, VaultFailure> {
    let WrappedKey { id, tenant_id, wrapped_under, wrapped } = wrapped;
    master_keys.unwrap(*id, *tenant_id, wrapped_under, wrapped).map_err(|problem| match problem {
        NotUnwrapped::UnknownMasterKey => {
            VaultFailure::UnknownMasterKey { data_key: *id, master_key: wrapped_under.clone() }
        }
        NotUnwrapped::NotAuthentic(_) => VaultFailure::DamagedDataKey { data_key: *id },
    })
}

/// Fields of fixed length come first, so that no two uses have the same bytes.
fn bound_to(tenant: TenantId, data_key: Uuid, context: &str) -> Vec<u8> {
    [BOUND_TO, tenant.0.as_bytes(), data_key.as_bytes(), context.as_bytes()].concat()
}
