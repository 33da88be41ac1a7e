//! Entry bundles: the entries of a tile of level 0 in one file (C2SP tlog-tiles v0.1.0, section "Log entries").

use thiserror::Error;

use crate::tree::TILE_WIDTH;

/// Maximum length of an entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Reason why a bundle cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntriesError {
    #[error("entry {index} has {bytes} bytes, more than {ENTRY_BYTES_MAX}")]
    Length { index: usize, bytes: usize },
    #[error("a bundle has 1 to {TILE_WIDTH} entries")]
    Count,
    #[error("the bundle ends within entry {index}")]
    Unfinished { index: usize },
}

/// Writes entries one after another, each after its length as a big-endian number of 16 bits.
///
/// # Errors
///
/// An entry is too long, or there are none or too many.
pub fn encode<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, EntriesError> {
    let mut bundle = vec![];
    let mut count = 0;
    for (index, entry) in entries.into_iter().enumerate() {
        count = index + 1;
        if count > TILE_WIDTH {
            return Err(EntriesError::Count);
        }
        let length = u16::try_from(entry.len());
        let length = length.map_err(|_| EntriesError::Length { index, bytes: entry.len() })?;
        bundle.extend(length.to_be_bytes());
        bundle.extend(entry);
    }
    if count == 0 { Err(EntriesError::Count) } else { Ok(bundle) }
}

/// Returns the entries of a bundle.
///
/// # Errors
///
/// The bundle ends within an entry, or has none or too many.
pub fn decode(mut bundle: &[u8]) -> Result<Vec<&[u8]>, EntriesError> {
    let mut entries = vec![];
    while !bundle.is_empty() {
        let unfinished = EntriesError::Unfinished { index: entries.len() };
        if entries.len() == TILE_WIDTH {
            return Err(EntriesError::Count);
        }
        let (length, rest) = bundle.split_first_chunk().ok_or(unfinished.clone())?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(unfinished)?;
        entries.push(entry);
        bundle = rest;
    }
    if entries.is_empty() { Err(EntriesError::Count) } else { Ok(entries) }
}
