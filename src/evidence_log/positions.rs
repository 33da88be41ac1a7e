//! Positions of facts in few bytes: those of a tile take about four bytes each instead of sixteen.
//!
//! Each position is stored as the difference from the one before it, the first as that from zero: transaction id and
//! number, each as a LEB128 integer, the number in zigzag form because it may be lower than the one before.

use projections::{LogPosition, TransactionId};
use thiserror::Error;

/// Bytes that are not a list of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stored positions of facts are damaged")]
pub(crate) struct DamagedPositions;

/// Encodes positions in the order of the log.
pub(super) fn encode(positions: &[LogPosition]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(positions.len() * 4);
    let mut before = LogPosition::default();
    for here in positions {
        write(&mut bytes, here.transaction_id.0.wrapping_sub(before.transaction_id.0));
        let difference = here.position.wrapping_sub(before.position);
        write(&mut bytes, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
        before = *here;
    }
    bytes
}

/// Decodes positions.
///
/// # Errors
/// The bytes end within a number, or a number is too long.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<LogPosition>, DamagedPositions> {
    let mut positions = vec![];
    let mut here = LogPosition::default();
    while !bytes.is_empty() {
        let transaction = here.transaction_id.0.wrapping_add(read(&mut bytes)?);
        let zigzag = read(&mut bytes)?;
        let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let position = here.position.wrapping_add(difference);
        here = LogPosition { transaction_id: TransactionId(transaction), position };
        positions.push(here);
    }
    Ok(positions)
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Result<u64, DamagedPositions> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(DamagedPositions)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(DamagedPositions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(pairs: &[(u64, i64)]) -> Vec<LogPosition> {
        let position =
            |&(transaction, position)| LogPosition { transaction_id: TransactionId(transaction), position };
        pairs.iter().map(position).collect()
    }

    #[test]
    fn positions_are_decoded_as_they_were() {
        for pairs in [
            &[][..],
            &[(0, 0)],
            &[(700, 1), (700, 2), (701, 900), (702, 3)],
            // The era is in the upper 16 bits.
            &[(5, i64::MAX), (1 << 48, 1), (u64::MAX, i64::MIN), (u64::MAX, 0)],
        ] {
            assert_eq!(decode(&encode(&positions(pairs))), Ok(positions(pairs)));
        }
    }

    #[test]
    fn neighbours_take_two_bytes() {
        let pairs: Vec<_> =
            (1..=256_u64).map(|number| (9_000_000 + number, 20_000_000 + number.cast_signed())).collect();
        assert!(encode(&positions(&pairs)).len() < 256 * 2 + 8);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for bytes in [&[1][..], &[0x80, 0x80], &[0xff; 11]] {
            assert_eq!(decode(bytes), Err(DamagedPositions));
        }
    }
}
