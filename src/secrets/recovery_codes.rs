//! Recovery codes, with which a user logs in who lost the authenticator app.
//!
//! A code has 120 random bits, so a plain hash of it reveals nothing.

use aggregates::sealed::TokenHash;
use secrecy::SecretString;

use super::{base32, token};

/// Recovery codes that a user has at first.
pub const RECOVERY_CODES: usize = 10;

const RANDOM_BYTES: usize = 15;
/// A code is shown as groups of characters, with hyphens between them.
const GROUPS: usize = 6;
const GROUP_CHARS: usize = 4;

/// New recovery codes, and what is stored of them.
#[derive(Debug)]
pub struct NewRecoveryCodes {
    pub codes: Vec<SecretString>,
    pub hashes: Vec<TokenHash>,
}

impl NewRecoveryCodes {
    #[must_use]
    pub fn generate() -> Self {
        let (codes, hashes) = (0..RECOVERY_CODES)
            .map(|_| {
                let random: [u8; RANDOM_BYTES] = rand::random();
                let characters = base32::encode(&random);
                (SecretString::from(in_groups(&characters)), token::hash(&characters))
            })
            .unzip();
        Self { codes, hashes }
    }
}

/// Returns the stored form of a code that a user typed, in either case and with or without hyphens; `None` if it cannot
/// be one.
#[must_use]
pub fn hash(typed: &str) -> Option<TokenHash> {
    let (mut rest, mut characters) = (typed, String::with_capacity(GROUPS * GROUP_CHARS));
    for group in 0..GROUPS {
        if group > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let (head, tail) = rest.split_at_checked(GROUP_CHARS)?;
        characters.push_str(head);
        rest = tail;
    }
    let is_code = rest.is_empty() && characters.bytes().all(base32::is_character);
    is_code.then(|| token::hash(&characters.to_ascii_uppercase()))
}

fn in_groups(characters: &str) -> String {
    let mut code = String::with_capacity(GROUPS * (GROUP_CHARS + 1));
    for (number, character) in characters.chars().enumerate() {
        if number > 0 && number % GROUP_CHARS == 0 {
            code.push('-');
        }
        code.push(character);
    }
    code
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_code_is_recognised_however_it_is_typed() {
        let new = NewRecoveryCodes::generate();
        assert_eq!((new.codes.len(), new.hashes.len()), (RECOVERY_CODES, RECOVERY_CODES));
        for (code, stored) in new.codes.iter().zip(new.hashes) {
            let code = code.expose_secret();
            assert_eq!(code.len(), 29);
            for typed in [code.to_owned(), code.to_lowercase(), code.replace('-', "")] {
                assert_eq!(hash(&typed).as_ref(), Some(&stored), "{typed}");
            }
        }
    }

    #[test]
    fn no_two_codes_are_equal() {
        let hashes: std::collections::HashSet<_> =
            (0..100).flat_map(|_| NewRecoveryCodes::generate().hashes).collect();
        assert_eq!(hashes.len(), 100 * RECOVERY_CODES);
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        let code = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX";
        assert!(hash(code).is_some());
        for typed in [
            "",
            "ABCD",
            &code[..28],
            "ABCD-EFGH-IJKL-MNOP-QRST-UVWXY",
            "ABCD-EFGH-IJKL-MNOP-QRST-UVW1",
            "AB-CDEFGH-IJKL-MNOP-QRST-UVWX",
            "-ABCD-EFGH-IJKL-MNOP-QRST-UVWX",
            "ABCD-EFGH-IJKL-MNOP-QRST-UVWé",
            "ÄBCD-EFGH-IJKL-MNOP-QRST-UVWX",
        ] {
            assert_eq!(hash(typed), None, "{typed}");
        }
    }
}
