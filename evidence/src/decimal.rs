//! Numbers in texts.

use crate::tree::TREE_SIZE_MAX;

/// Parses an ASCII decimal number of at most [`TREE_SIZE_MAX`], without sign and without leading zeros.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| canonical && *number <= TREE_SIZE_MAX)
}

/// Appends a number in ASCII digits.
pub(crate) fn push(text: &mut Vec<u8>, number: u64) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let start = text.len();
    text.resize(start + digits, b'0');
    overwrite(&mut text[start..], number);
}

/// Overwrites all of `digits` with the last ASCII digits of a number.
pub(crate) fn overwrite(digits: &mut [u8], number: impl Into<u64>) {
    let mut number = number.into();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
