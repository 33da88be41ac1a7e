//! Base32 (RFC 4648) without padding: authenticator apps take secrets in it, and people can type it.

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Returns `bytes` in base32, five bytes as eight characters. A last group of fewer bytes is shorter.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut bits = [0; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(bits);
        for character in 0..(group.len() * 8).div_ceil(5) {
            let index = (bits >> (35 - 5 * character)) & 31;
            text.push(ALPHABET[usize::try_from(index).unwrap_or_default()].into());
        }
    }
    text
}

/// Whether a character, in either case, is of the alphabet.
pub(super) fn is_character(character: u8) -> bool {
    ALPHABET.contains(&character.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(encode(&[0xff; 10]), "7777777777777777");
    }
}
