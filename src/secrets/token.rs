//! Tokens that the platform hands out: their shape, their making, and what is kept of them.
//!
//! A token is a prefix that says what it opens and 32 hex characters, 128 bits that nobody can guess.
//! Whoever reads one relies on the prefix alone: older and longer ones stay good.

use aggregates::sealed::{Fingerprint, TokenHash};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Longest token that is looked at, in characters.
pub const TOKEN_CHARS_MAX: usize = 512;

/// Random bytes in a token.
const RANDOM_BYTES: usize = 16;
/// Hex characters of a fingerprint.
const FINGERPRINT_CHARS: usize = 16;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// The way to one destination.
    DestinationIngest,
    /// The way to one destination, from one of its senders.
    SenderIngest,
    /// The right to use the ways of a tenant.
    ApiKey,
    /// What deliveries of a tenant are signed with.
    WebhookSecret,
    /// The right to join a tenant.
    Invite,
    /// The right to the next access token of a session.
    Refresh,
}

impl TokenKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::DestinationIngest,
        Self::SenderIngest,
        Self::ApiKey,
        Self::WebhookSecret,
        Self::Invite,
        Self::Refresh,
    ];

    /// What every token of this kind begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::DestinationIngest => "dst_",
            Self::SenderIngest => "sndr_",
            Self::ApiKey => "hks_",
            Self::WebhookSecret => "whsec_",
            Self::Invite => "inv_",
            Self::Refresh => "rfr_",
        }
    }

    /// The kind of a token that somebody presents, if it could be one of ours.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let readable = token.len() <= TOKEN_CHARS_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
        let has_body = |kind: &Self| token.strip_prefix(kind.prefix()).is_some_and(|body| !body.is_empty());
        Self::ALL.into_iter().find(|kind| readable && has_body(kind))
    }

    /// A new token of this kind.
    #[must_use]
    pub fn generate(self) -> SecretString {
        // The thread's generator is a CSPRNG that the operating system seeds.
        let random: [u8; RANDOM_BYTES] = rand::random();
        format!("{}{}", self.prefix(), hex::encode(random)).into()
    }
}

/// What is kept of a token: the SHA-256 of the whole of it, prefix included. A slow hash would add
/// nothing, as nobody can try 2^128 tokens.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    TokenHash(hex::encode(Sha256::digest(token.as_bytes())))
}

/// What a history shows of a secret.
#[must_use]
pub fn fingerprint(secret: &str) -> Fingerprint {
    let TokenHash(mut hash) = hash(secret);
    hash.truncate(FINGERPRINT_CHARS);
    Fingerprint(hash)
}

/// Whether two hashes are of the same token, in a time that does not tell how much of them is equal.
#[must_use]
pub fn same(left: &TokenHash, right: &TokenHash) -> bool {
    left.0.as_bytes().ct_eq(right.0.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_is_its_prefix_and_32_lower_case_hex_characters() {
        for (kind, prefix) in [
            (TokenKind::DestinationIngest, "dst_"),
            (TokenKind::SenderIngest, "sndr_"),
            (TokenKind::ApiKey, "hks_"),
            (TokenKind::WebhookSecret, "whsec_"),
            (TokenKind::Invite, "inv_"),
        ] {
            let token = kind.generate();
            let body = token.expose_secret().strip_prefix(prefix).unwrap();
            assert_eq!(body.len(), 32);
            assert!(body.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{body}");
            assert_eq!(TokenKind::of(token.expose_secret()), Some(kind));
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let tokens: std::collections::HashSet<_> =
            (0..1_000).map(|_| TokenKind::ApiKey.generate().expose_secret().to_owned()).collect();
        assert_eq!(tokens.len(), 1_000);
    }

    #[test]
    fn the_kind_is_read_from_the_prefix_alone() {
        let long = format!("hks_{}", "a".repeat(508));
        for (token, kind) in [
            ("dst_0", Some(TokenKind::DestinationIngest)),
            ("sndr_Any-Body", Some(TokenKind::SenderIngest)),
            (long.as_str(), Some(TokenKind::ApiKey)),
            (&format!("{long}a"), None),
            ("hsk_0123", None),
            ("HKS_0123", None),
            ("hks_", None),
            ("", None),
            ("hks_a\r\nb", None),
            ("hks_a b", None),
            ("hks_ä", None),
        ] {
            assert_eq!(TokenKind::of(token), kind, "{token}");
        }
    }

    #[test]
    fn a_hash_is_sha_256_of_the_whole_token_and_a_fingerprint_its_beginning() {
        // printf %s 'whsec_test' | sha256sum
        let expected = "609b97b03239401be8235dd68f4a53ea4e32183a775fb958b1c745e173586d73";
        assert_eq!(hash("whsec_test").0, expected);
        assert_eq!(fingerprint("whsec_test").0, expected[..16]);
        assert!(same(&hash("a"), &hash("a")));
        assert!(!same(&hash("a"), &hash("b")));
        assert!(!same(&hash("a"), &TokenHash::default()));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = TokenKind::ApiKey.generate();
        assert!(!format!("{token:?}").contains("hks_"));
    }
}
