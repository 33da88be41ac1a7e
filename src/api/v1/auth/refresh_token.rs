//! Form of refresh tokens: a prefix, random characters, the id of the session.

use aggregates::ids::SessionId;
use aggregates::sealed::TokenHash;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::PresentedRefreshToken;
use crate::secrets::token::{self, TokenKind};

/// Hexadecimal characters of the session's id at the end of a refresh token.
const SESSION_ID_CHARS: usize = 32;

/// A refresh token of a request. It contains the id of its session, so that a token that was used before is still
/// recognized.
pub(super) struct RefreshToken {
    pub(super) session_id: SessionId,
    pub(super) hash: TokenHash,
}

impl RefreshToken {
    /// Reads a token. Returns `None` if this service cannot have issued it.
    pub(super) fn parse(presented: &PresentedRefreshToken) -> Option<Self> {
        let token = presented.refresh_token.expose_secret();
        let rest = token.strip_prefix(TokenKind::Refresh.prefix())?;
        let session_id = rest.len().checked_sub(SESSION_ID_CHARS).and_then(|start| rest.get(start..))?;
        let session_id = Uuid::try_parse(session_id).ok()?;
        Some(Self { session_id: SessionId(session_id), hash: token::hash(token) })
    }
}

/// Generates a refresh token of a session.
pub(super) fn generate(session_id: SessionId) -> SecretString {
    let random = TokenKind::Refresh.generate();
    format!("{}{}", random.expose_secret(), session_id.0.simple()).into()
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
        let token = generate(session_id);
        let token = token.expose_secret();
        assert!(token.len() >= 64);
        assert_eq!(parse(token), Some(session_id));
        for other in ["", "rfr_", "rfr_12", "abc", &token[4..], &format!("rfr_é{}", "1".repeat(31))] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
