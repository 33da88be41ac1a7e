//! The form that proofs and the requests to witnesses share: lines, of which the last are hashes, then an empty line and
//! a signed checkpoint.

use thiserror::Error;

use crate::tree::{Hash, PROOF_HASHES_MAX};

/// Reason why lines are not the hashes of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HashLinesError {
    #[error("line {0}: a hash must be the base64 of 32 bytes")]
    Hash(usize),
    #[error("a proof has at most {PROOF_HASHES_MAX} hashes")]
    Count,
}

/// Splits the lines before the empty line, with their numbers from 1, from the bytes after it.
pub(crate) fn split(bytes: &[u8]) -> Option<(impl Iterator<Item = (usize, &str)> + Clone, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let lines = std::str::from_utf8(&bytes[..end]).ok()?;
    Some(((1..).zip(lines.split('\n')), &bytes[end + 2..]))
}

pub(crate) fn parse<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Hash>, HashLinesError> {
    let mut hashes = vec![];
    for (number, line) in lines {
        if hashes.len() == PROOF_HASHES_MAX {
            return Err(HashLinesError::Count);
        }
        hashes.push(line.parse().map_err(|_| HashLinesError::Hash(number))?);
    }
    Ok(hashes)
}
