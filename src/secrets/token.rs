//! Format, generation and hashing of the tokens that the platform issues.
//!
//! A token is a prefix that identifies its kind, followed by 128 random bits as 32 hex characters. Parsing
//! relies on the prefix only, so older and longer tokens stay valid.

use aggregates::sealed::{Fingerprint, TokenHash};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Maximum length of a token in characters; longer ones are not recognised.
pub const TOKEN_CHARS_MAX: usize = 512;

/// Random bytes in a token.
const RANDOM_BYTES: usize = 16;
/// Hex characters of a fingerprint.
const FINGERPRINT_CHARS: usize = 16;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Ingest token of a destination.
    DestinationIngest,
    /// Ingest token of a sender.
    SenderIngest,
    /// API key of a tenant.
    ApiKey,
    /// Secret that signs the deliveries of a tenant.
    WebhookSecret,
    /// Invite to a tenant.
    Invite,
    /// Refresh token of a session.
    Refresh,
    /// Portal link of a tenant.
    PortalLink,
}

impl TokenKind {
    pub const ALL: [Self; 7] = [
        Self::DestinationIngest,
        Self::SenderIngest,
        Self::ApiKey,
        Self::WebhookSecret,
        Self::Invite,
        Self::Refresh,
        Self::PortalLink,
    ];

    /// Returns the prefix of all tokens of this kind.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::DestinationIngest => "dst_",
            Self::SenderIngest => "sndr_",
            Self::ApiKey => "hks_",
            Self::WebhookSecret => "whsec_",
            Self::Invite => "inv_",
            Self::Refresh => "rfr_",
            Self::PortalLink => "ptl_",
        }
    }

    /// Returns the kind of a token that a caller presents; `None` if it cannot be one.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let readable = token.len() <= TOKEN_CHARS_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
        let has_body = |kind: &Self| token.strip_prefix(kind.prefix()).is_some_and(|body| !body.is_empty());
        Self::ALL.into_iter().find(|kind| readable && has_body(kind))
    }

    /// Generates a token of this kind.
    #[must_use]
    pub fn generate(self) -> SecretString {
        // The thread's generator is a CSPRNG seeded by the operating system.
        let random: [u8; RANDOM_BYTES] = rand::random();
        format!("{}{}", self.prefix(), hex::encode(random)).into()
    }
}

/// Returns the stored form of a token: the SHA-256 of all of it, prefix included. A slow hash would add
/// nothing, since 2^128 tokens cannot be tried.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    TokenHash(hex::encode(Sha256::digest(token.as_bytes())))
}

/// Returns the part of a secret's hash that histories show.
#[must_use]
pub fn fingerprint(secret: &str) -> Fingerprint {
    let TokenHash(mut hash) = hash(secret);
    hash.truncate(FINGERPRINT_CHARS);
    Fingerprint(hash)
}

/// Returns whether two hashes are equal, in constant time.
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
            (TokenKind::PortalLink, "ptl_"),
        ] {
            let token = kind.generate();
            let body = token.expose_secret().strip_prefix(prefix).unwrap();
            assert_eq!(body.len(), 32);
            assert!(body.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{body}");
            assert_eq!(TokenKind::of(token.expose_secret()), Some(kind));
        }
    }

    #[test]
    fn no_two_tokens_are_equal() {
        let tokens: std::collections::HashSet<_> =
            (0..1_000).map(|_| TokenKind::ApiKey.generate().expose_secret().to_owned()).collect();
        assert_eq!(tokens.len(), 1_000);
    }

    #[test]
    fn the_kind_follows_from_the_prefix() {
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
    fn a_hash_is_the_sha_256_of_the_token_and_a_fingerprint_its_beginning() {
        // printf %s 'whsec_test' | sha256sum
        let expected = "609b97b03239401be8235dd68f4a53ea4e32183a775fb958b1c745e173586d73";
        assert_eq!(hash("whsec_test").0, expected);
        assert_eq!(fingerprint("whsec_test").0, expected[..16]);
        assert!(same(&hash("a"), &hash("a")));
        assert!(!same(&hash("a"), &hash("b")));
        assert!(!same(&hash("a"), &TokenHash::default()));
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = TokenKind::ApiKey.generate();
        assert!(!format!("{token:?}").contains("hks_"));
    }
}
