//! Re-wrapping: every data key under the first master key, so that the others can be retired.
//!
//! It goes in batches, each a short transaction, and may be stopped and repeated at any time: what is
//! done is done. Processes that still have another master key in front keep making data keys under
//! that one, so the new key goes to all of them first; a second run picks up what they made meanwhile.

use std::collections::BTreeMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::data_keys::{self, KeysUnder, WrappedKey};
use super::master_keys::{MasterKeyId, MasterKeys};
use super::vault::{self, VaultFailure};

/// Data keys of one transaction.
const BATCH: i64 = 500;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Data keys looked at.
    pub done: u64,
    /// Data keys that were not under the first master key at the beginning.
    pub total: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys that are under the first master key now and were not before.
    pub rewrapped: u64,
    /// Data keys that were under it already.
    pub already: u64,
    /// Data keys that could not be unwrapped, by the master key they are wrapped under. While there are
    /// any, that master key cannot be retired.
    pub left: Vec<KeysUnder>,
}

/// Re-wraps every data key, and tells after each batch how far it is.
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
    let mut left: BTreeMap<MasterKeyId, u64> = BTreeMap::new();
    let mut after = Uuid::nil();
    loop {
        let mut transaction = pool.begin().await?;
        let page = data_keys::page_not_under(&mut transaction, first, after, BATCH).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let mut anew = Vec::with_capacity(page.len());
        for key in &page {
            match wrap_anew(master_keys, key) {
                Ok(key) => anew.push(key),
                Err(failure) => {
                    let failure: &dyn std::error::Error = &failure;
                    tracing::error!(error = failure, data_key.id = %key.id, "a data key stays as it is");
                    *left.entry(key.wrapped_under.clone()).or_default() += 1;
                }
            }
        }
        data_keys::rewrap(&mut transaction, &anew).await?;
        transaction.commit().await?;
        rewrapped += anew.len() as u64;
        so_far.done += page.len() as u64;
        progress(so_far);
    }
    let left = left.into_iter().map(|(master_key, data_keys)| KeysUnder { master_key, data_keys }).collect();
    Ok(Rewrapped { rewrapped, already: count(&under_first), left })
}

fn wrap_anew(master_keys: &MasterKeys, key: &WrappedKey) -> Result<WrappedKey, VaultFailure> {
    let data_key = vault::unwrap(master_keys, key)?;
    Ok(WrappedKey {
        wrapped_under: master_keys.first().clone(),
        wrapped: master_keys.wrap(key.id, key.tenant_id, &data_key)?,
        ..key.clone()
    })
}
