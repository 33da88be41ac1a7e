//! Payloads: JSON objects of given sizes.

use std::str::FromStr;

use thiserror::Error;

const HEAD: &str = "{\"bench\":\"";
const TAIL: &str = "\"}";
/// Size of a payload with an empty text.
const BYTES_MIN: usize = HEAD.len() + TAIL.len();
/// Upper bound of a payload's size. The default limit of ingest is lower.
const BYTES_MAX: usize = 64 << 20;
/// Upper bound of the sum of all weights.
const WEIGHT_MAX: u64 = 1_000_000;

/// Payload sizes with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadMix(Vec<Size>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    bytes: usize,
    weight: u64,
}

/// Error of a text that is not a list of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be sizes of at least {BYTES_MIN} bytes with weights, such as 500 or 500:9,20000:1")]
pub struct NoMix;

impl FromStr for PayloadMix {
    type Err = NoMix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = |word: &str| {
            let (bytes, weight) = word.split_once(':').unwrap_or((word, "1"));
            let size = Size { bytes: bytes.trim().parse().ok()?, weight: weight.trim().parse().ok()? };
            let fits =
                (BYTES_MIN..=BYTES_MAX).contains(&size.bytes) && (1..=WEIGHT_MAX).contains(&size.weight);
            fits.then_some(size)
        };
        let sizes = text.split(',').map(size).collect::<Option<Vec<_>>>().ok_or(NoMix)?;
        let mix = Self(sizes);
        if mix.weight() > WEIGHT_MAX { Err(NoMix) } else { Ok(mix) }
    }
}

impl PayloadMix {
    /// Renders one payload of each size.
    pub(crate) fn render(&self) -> Vec<String> {
        self.0.iter().map(|size| payload(size.bytes)).collect()
    }

    /// Returns the index of the size for the event with this number. Among any consecutive events as many as
    /// the sum of the weights, each size occurs as often as its weight, spread evenly.
    pub(crate) fn pick(&self, number: u64) -> usize {
        let weight = self.weight();
        // A step that is coprime to the weight visits each slot once.
        let step = (weight / 2 + 1..).find(|step| gcd(*step, weight) == 1).unwrap_or(1);
        let mut slot = (number % weight) * step % weight;
        self.0
            .iter()
            .position(|size| {
                let found = slot < size.weight;
                slot = slot.saturating_sub(size.weight);
                found
            })
            .unwrap_or(0)
    }

    fn weight(&self) -> u64 {
        self.0.iter().map(|size| size.weight).sum()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Renders a JSON object of exactly this size. Its text hardly repeats, so a database that compresses has as
/// much work as with real payloads, or more.
fn payload(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 58) as usize])
    });
    let filler = bytes.saturating_sub(BYTES_MIN);
    HEAD.chars().chain(letters.take(filler)).chain(TAIL.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_objects_of_exactly_their_size() {
        for bytes in [BYTES_MIN, BYTES_MIN + 1, 500, 20_000] {
            let payload = payload(bytes);
            assert_eq!(payload.len(), bytes);
            let parsed: serde_json::Value = serde_json::from_str(&payload).unwrap();
            assert!(parsed.is_object(), "{payload}");
        }
    }

    #[test]
    fn sizes_occur_as_often_as_their_weight() {
        let mix: PayloadMix = "500:9,20000:3, 64 ".parse().unwrap();
        let mut counts = [0; 3];
        for number in 0..1_300 {
            counts[mix.pick(number)] += 1;
        }
        assert_eq!(counts, [900, 300, 100]);
        assert_eq!(mix.render().iter().map(String::len).collect::<Vec<_>>(), [500, 20_000, 64]);
    }

    #[test]
    fn sizes_alternate() {
        let mix: PayloadMix = "500:50,600:50".parse().unwrap();
        let picks: Vec<_> = (0..100).map(|number| mix.pick(number)).collect();
        let longest = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest < Some(4), "{picks:?}");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "5", "500:0", "500:", "a", "500,,600", "500:600000,600:600000", "99999999999"] {
            assert_eq!(text.parse::<PayloadMix>(), Err(NoMix), "{text}");
        }
    }
}
