//! SHA-256 and HMAC-SHA256 of several messages at once.
//!
//! Each round of SHA-256 needs the result of the round before it, so a processor with instructions for them waits most of
//! the time. It executes those of a second message meanwhile: two messages, block by block, take two thirds of the time
//! that they take one after the other.

use std::{array, slice};

use sha2::block_api::compress256;

const BLOCK_BYTES: usize = 64;
type Block = [u8; BLOCK_BYTES];
pub(crate) type Digest = [u8; 32];

/// State of SHA-256 after some blocks.
#[derive(Clone, Copy)]
pub(crate) struct State {
    words: [u32; 8],
    blocks: u64,
}

impl State {
    /// State before the first block (FIPS 180-4, section 5.3.3).
    pub(crate) const INITIAL: Self = Self {
        words: [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ],
        blocks: 0,
    };

    fn compress(&mut self, blocks: &[Block]) {
        compress256(&mut self.words, blocks);
        self.blocks += blocks.len() as u64;
    }
}

/// Last blocks of a message, with its padding (FIPS 180-4, section 5.1.1).
struct Tail {
    blocks: [Block; 2],
    count: usize,
}

impl Tail {
    /// `rest` is what follows the last whole block of a message, and `message_bytes` the length of all of it.
    fn new(rest: &[u8], message_bytes: u64) -> Self {
        let mut blocks = [[0; BLOCK_BYTES]; 2];
        let bits = (message_bytes * 8).to_be_bytes();
        blocks[0][..rest.len()].copy_from_slice(rest);
        blocks[0][rest.len()] = 0x80;
        let count = if rest.len() + 1 + bits.len() <= BLOCK_BYTES { 1 } else { 2 };
        blocks[count - 1][BLOCK_BYTES - bits.len()..].copy_from_slice(&bits);
        Self { blocks, count }
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks[..self.count]
    }
}

/// Returns the SHA-256 of each message. A message begins with the blocks that its state is after.
pub(crate) fn digest<const N: usize>(mut states: [State; N], messages: [&[u8]; N]) -> [Digest; N] {
    let parts = messages.map(<[u8]>::as_chunks);
    let tails: [Tail; N] = array::from_fn(|lane| {
        let before = states[lane].blocks * BLOCK_BYTES as u64;
        Tail::new(parts[lane].1, before + messages[lane].len() as u64)
    });
    let counts: [usize; N] = array::from_fn(|lane| parts[lane].0.len() + tails[lane].count);
    // Blocks of one message are faster all at once.
    let together = if N == 1 { 0 } else { counts.into_iter().min().unwrap_or(0) };
    for number in 0..together {
        for lane in 0..N {
            let whole = parts[lane].0;
            let block = whole.get(number).unwrap_or_else(|| &tails[lane].blocks[number - whole.len()]);
            states[lane].compress(slice::from_ref(block));
        }
    }
    for lane in 0..N {
        let whole = parts[lane].0;
        if together < whole.len() {
            states[lane].compress(&whole[together..]);
        }
        let tail = &tails[lane].blocks()[together.saturating_sub(whole.len())..];
        if !tail.is_empty() {
            states[lane].compress(tail);
        }
    }
    states.map(|state| {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state.words) {
            *bytes = word.to_be_bytes();
        }
        digest
    })
}

/// Key of HMAC-SHA256 (RFC 2104), of which both pads are hashed.
#[derive(Clone, Copy)]
pub(crate) struct MacKey {
    inner: State,
    outer: State,
}

impl MacKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let pads = [0x36, 0x5c].map(|byte| {
            let mut pad = [byte; BLOCK_BYTES];
            pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            pad
        });
        let [mut inner, mut outer] = [State::INITIAL; 2];
        inner.compress(&pads[..1]);
        outer.compress(&pads[1..]);
        Self { inner, outer }
    }

    /// Returns the code of each message under its key.
    pub(crate) fn authenticate<const N: usize>(keys: [&Self; N], messages: [&[u8]; N]) -> [Digest; N] {
        let inner = digest(keys.map(|key| key.inner), messages);
        digest(keys.map(|key| key.outer), inner.each_ref().map(<[u8; 32]>::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Lengths around the ends of blocks are those at which the padding changes.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..300)
    }

    proptest! {
        #[test]
        fn messages_hashed_together_have_the_hashes_of_each(a in message(), b in message(), c in message()) {
            let expected = [&a, &b, &c].map(|message| Digest::from(Sha256::digest(message)));
            prop_assert_eq!(digest([State::INITIAL; 3], [&a[..], &b, &c]), expected);
            prop_assert_eq!(digest([State::INITIAL; 2], [&a[..], &b]), [expected[0], expected[1]]);
            prop_assert_eq!(digest([State::INITIAL], [&a[..]]), [expected[0]]);
        }

        #[test]
        fn codes_are_those_of_hmac(keys in any::<[[u8; 32]; 2]>(), a in message(), b in message()) {
            let expected = [(keys[0], &a), (keys[1], &b)].map(|(key, message)| {
                let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
                mac.update(message);
                Digest::from(mac.finalize().into_bytes())
            });
            let keys = keys.each_ref().map(MacKey::new);
            prop_assert_eq!(MacKey::authenticate(keys.each_ref(), [&a[..], &b]), expected);
            prop_assert_eq!(MacKey::authenticate([&keys[1]], [&b[..]]), [expected[1]]);
        }
    }

    #[test]
    fn every_length_up_to_three_blocks_is_padded_correctly() {
        let bytes: Vec<u8> = (0..=192).collect();
        for (short, long) in (0..=192).flat_map(|short| [0, 1, 55, 56, 64, 192].map(|long| (short, long))) {
            let messages = [&bytes[..short], &bytes[..long]];
            let expected = messages.map(|message| Digest::from(Sha256::digest(message)));
            assert_eq!(digest([State::INITIAL; 2], messages), expected, "{short} and {long} bytes");
        }
    }
}
