//! Form of refresh tokens: a prefix, random characters that all tokens of a session have in common (its token family),
//! random characters of the token, the id of the session.
//!
//! The family proves that a token was issued, even if others have replaced it. The id alone, which every access token
//! contains, does not.

use aggregates::ids::SessionId;
use aggregates::sealed::TokenHash;
use projections::sessions::CurrentSession;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::PresentedRefreshToken;
use crate::secrets::token::{self, TokenKind};

/// Random bytes of a token, besides those of its family.
const RANDOM_BYTES: usize = 16;
/// Characters of a family: the prefix, and 16 bytes in hex.
const FAMILY_CHARS: usize = TokenKind::Refresh.prefix().len() + 32;
/// Characters of a token: the family, its own random bytes in hex, and the session's id in hex.
const TOKEN_CHARS: usize = FAMILY_CHARS + 2 * RANDOM_BYTES + 32;

/// Common part of the refresh tokens of a session.
pub(super) struct TokenFamily(SecretString);

/// A refresh token of a request.
pub(super) struct RefreshToken {
    pub(super) session_id: SessionId,
    pub(super) family: TokenFamily,
    pub(super) hash: TokenHash,
}

impl RefreshToken {
    /// Reads a token. Returns `None` if this service cannot have issued it.
    pub(super) fn parse(presented: &PresentedRefreshToken) -> Option<Self> {
        let token = presented.refresh_token.expose_secret();
        if token.len() != TOKEN_CHARS || TokenKind::of(token) != Some(TokenKind::Refresh) {
            return None;
        }
        let family = token.get(..FAMILY_CHARS)?;
        let session_id = Uuid::try_parse(token.get(FAMILY_CHARS + 2 * RANDOM_BYTES..)?).ok()?;
        Some(Self {
            session_id: SessionId(session_id),
            family: TokenFamily(family.into()),
            hash: token::hash(token),
        })
    }

    /// Returns whether this is a token of `session`, the newest or an older one.
    pub(super) fn was_issued_for(&self, session: &CurrentSession) -> bool {
        token::same(&self.family.hash(), &session.token_family_hash)
    }
}

impl TokenFamily {
    pub(super) fn generate() -> Self {
        Self(TokenKind::Refresh.generate())
    }

    pub(super) fn hash(&self) -> TokenHash {
        token::hash(self.0.expose_secret())
    }

    /// Generates a refresh token of a session whose family this is.
    pub(super) fn generate_token(&self, session_id: SessionId) -> SecretString {
        let random: [u8; RANDOM_BYTES] = rand::random();
        format!("{}{}{}", self.0.expose_secret(), hex::encode(random), session_id.0.simple()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifiers;

    #[test]
    fn a_refresh_token_contains_its_session() {
        let parse = |token: &str| {
            let token = RefreshToken::parse(&PresentedRefreshToken { refresh_token: token.into() });
            token.map(|token| token.session_id)
        };
        let session_id = SessionId(identifiers::new_id());
        let family = TokenFamily::generate();
        let token = family.generate_token(session_id);
        let token = token.expose_secret();
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!(parse(token), Some(session_id));
        for other in ["", "rfr_", "rfr_12", "abc", &token[4..], &format!("rfr_é{}", "1".repeat(94))] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn every_token_of_a_session_has_its_family() {
        let parse = |token: SecretString| {
            RefreshToken::parse(&PresentedRefreshToken { refresh_token: token }).expect("a token")
        };
        let (session_id, family) = (SessionId(identifiers::new_id()), TokenFamily::generate());
        let (first, second) =
            (parse(family.generate_token(session_id)), parse(family.generate_token(session_id)));
        assert_eq!(first.family.hash(), family.hash());
        assert_eq!(second.family.hash(), family.hash());
        assert_ne!(first.hash, second.hash);
        assert_ne!(TokenFamily::generate().hash(), family.hash());
    }
}
