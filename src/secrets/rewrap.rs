//! Rewrapping of all data keys with the first master key, so that the other master keys can be removed.
//!
//! It works in batches, each a short transaction, and may be interrupted and repeated at any time. Processes
//! that still have another master key first keep wrapping new data keys with that one, so the new key must be
//! first in all processes before; a second run rewraps the data keys that were created meanwhile.

use std::collections::BTreeMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::data_keys::{self, KeysUnder, WrappedKey};
use super::master_keys::{MasterKeyId, MasterKeys};
use super::vault::{self, VaultFailure};

/// Maximum number of data keys in a transaction.
const BATCH_MAX: i64 = 500;

/// Progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Data keys processed.
    pub done: u64,
    /// Data keys that were not wrapped with the first master key at the start.
    pub total: u64,
}

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys that were rewrapped.
    pub rewrapped: u64,
    /// Data keys that were wrapped with the first master key already.
    pub already_current: u64,
    /// Data keys that could not be unwrapped, by the master key that wraps them. While there are any, that
    /// master key cannot be removed.
    pub unreadable: Vec<KeysUnder>,
}

/// Rewraps all data keys, and reports the progress after each batch.
///
/// # Errors
/// When the database fails. Data keys that cannot be unwrapped are logged and counted instead.
pub async fn rewrap(
    pool: &PgPool,
    master_keys: &MasterKeys,
    mut progress: impl FnMut(Progress),
) -> Result<Rewrapped, VaultFailure> {
    let first = master_keys.first();
    let before = data_keys::count_by_master_key(&mut *pool.acquire().await?).await?;
    let (under_first, under_others): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|under| under.master_key == *first);
    let count = |under: &[KeysUnder]| under.iter().map(|under| under.data_keys).sum();
    let mut so_far = Progress { done: 0, total: count(&under_others) };
    let mut rewrapped = 0;
    let mut unreadable: BTreeMap<MasterKeyId, u64> = BTreeMap::new();
    let mut after = Uuid::nil();
    loop {
        let mut transaction = pool.begin().await?;
        let page = data_keys::page_not_under(&mut transaction, first, after, BATCH_MAX).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let mut changed = Vec::with_capacity(page.len());
        for key in &page {
            match rewrap_key(master_keys, key) {
                Ok(key) => changed.push(key),
                Err(failure) => {
                    let failure: &dyn std::error::Error = &failure;
                    tracing::error!(error = failure, data_key.id = %key.id, "a data key cannot be rewrapped");
                    *unreadable.entry(key.wrapped_under.clone()).or_default() += 1;
                }
            }
        }
        data_keys::rewrap(&mut transaction, &changed).await?;
        transaction.commit().await?;
        rewrapped += changed.len() as u64;
        so_far.done += page.len() as u64;
        progress(so_far);
    }
    let unreadable =
        unreadable.into_iter().map(|(master_key, data_keys)| KeysUnder { master_key, data_keys }).collect();
    Ok(Rewrapped { rewrapped, already_current: count(&under_first), unreadable })
}

fn rewrap_key(master_keys: &MasterKeys, key: &WrappedKey) -> Result<WrappedKey, VaultFailure> {
    let data_key = vault::unwrap(master_keys, key)?;
    Ok(WrappedKey {
        wrapped_under: master_keys.first().clone(),
        wrapped: master_keys.wrap(key.id, key.tenant_id, &data_key)?,
        ..key.clone()
    })
}
