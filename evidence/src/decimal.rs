//! Numbers in texts.

use crate::tree::TREE_SIZE_MAX;

/// Parses an ASCII decimal number of at most [`TREE_SIZE_MAX`], without sign and without leading zeros.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| canonical && *number <= TREE_SIZE_MAX)
}
