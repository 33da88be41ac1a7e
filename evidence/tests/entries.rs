//! Entry bundles.

use evidence::entries::{ENTRY_BYTES_MAX, EntriesError, decode, encode};
use proptest::prelude::*;

#[test]
fn each_entry_follows_its_length() {
    assert_eq!(encode([b"ab".as_slice(), b"", b"c"]), Ok(b"\0\x02ab\0\0\0\x01c".to_vec()));
}

#[test]
fn bundles_that_no_tile_has_are_refused() {
    let long = vec![0; ENTRY_BYTES_MAX + 1];
    let too_long = EntriesError::Length { index: 1, bytes: ENTRY_BYTES_MAX + 1 };
    assert_eq!(encode([b"".as_slice(), &long]), Err(too_long));
    assert_eq!(encode([]), Err(EntriesError::Count));
    assert_eq!(encode([b"".as_slice(); 257]), Err(EntriesError::Count));
    assert_eq!(decode(b""), Err(EntriesError::Count));
    assert_eq!(decode(&[0; 2 * 257]), Err(EntriesError::Count));
    assert_eq!(decode(&[0; 2 * 256]), Ok(vec![b"".as_slice(); 256]));
    assert_eq!(decode(b"\0\x01a\0"), Err(EntriesError::Unfinished { index: 1 }));
    assert_eq!(decode(b"\0\x02a"), Err(EntriesError::Unfinished { index: 0 }));
}

proptest! {
    #[test]
    fn bundles_round_trip(entries in prop::collection::vec("[a-z]{0,600}", 1..9)) {
        let bundle = encode(entries.iter().map(String::as_bytes)).unwrap();
        let entries: Vec<&[u8]> = entries.iter().map(String::as_bytes).collect();
        prop_assert_eq!(decode(&bundle).unwrap(), entries);
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        if let Ok(entries) = decode(&bytes) {
            prop_assert_eq!(encode(entries).unwrap(), bytes);
        }
    }
}
