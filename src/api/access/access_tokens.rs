//! Access tokens: JWT, signed with HS256, valid for fifteen minutes.
//!
//! Keys are rotated by adding a new key in front of the others: it signs from then on, and the others verify until
//! they are removed. A token names its key in `kid`.

use std::sync::Arc;

use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::Role;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secrets::signing_keys::SigningKeys;

/// Longest validity of an access token.
pub(crate) const LIFETIME: TimeDelta = TimeDelta::minutes(15);

const ISSUER: &str = "hooksentry-api";
const AUDIENCE: &str = "hooksentry-client";
/// Largest accepted difference between the clocks of two processes.
const LEEWAY_SECONDS: u64 = 5;

/// Issues and verifies access tokens.
#[derive(Clone, Debug)]
pub(crate) struct AccessTokens {
    keys: SigningKeys,
    validation: Arc<Validation>,
}

/// Claims of an access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: UserId,
    /// Id of the token.
    pub(crate) jti: Uuid,
    /// Session of the token, which is valid only while the session is open.
    pub(crate) sid: SessionId,
    pub(crate) email: String,
    pub(crate) tenant_id: TenantId,
    /// Role at the time of issue, for clients. Permissions follow from the user's current role.
    pub(crate) role: Role,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// User and session for which a token is issued.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) tenant_id: TenantId,
    pub(crate) email: String,
    pub(crate) role: Role,
}

impl AccessTokens {
    pub(crate) fn new(keys: SigningKeys) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY_SECONDS;
        Self { keys, validation: Arc::new(validation) }
    }

    /// Issues a token.
    ///
    /// # Errors
    /// The token cannot be encoded.
    pub(crate) fn issue(
        &self,
        bearer: &Bearer,
        token_id: Uuid,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            sub: bearer.user_id,
            jti: token_id,
            sid: bearer.session_id,
            email: bearer.email.clone(),
            tenant_id: bearer.tenant_id,
            role: bearer.role,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
        };
        let key = self.keys.first();
        let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key.expose_bytes()))
    }

    /// Returns the claims of a token that is authentic and has not expired. A token without `kid` must be signed with
    /// the first key.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let key = match &header.kid {
            Some(kid) => self.keys.find(kid)?,
            None => self.keys.first(),
        };
        let key = DecodingKey::from_secret(key.expose_bytes());
        let data = jsonwebtoken::decode::<Claims>(token, &key, &self.validation).ok()?;
        Some(data.claims)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::clock;

    const FIRST: &str = "first-key-of-at-least-thirty-two-bytes";
    const SECOND: &str = "second-key-of-at-least-thirty-two-bytes";

    fn keys(secrets: &[&str]) -> AccessTokens {
        AccessTokens::new(secrets.join(",").parse().unwrap())
    }

    fn bearer() -> Bearer {
        Bearer {
            user_id: UserId(Uuid::from_u128(1)),
            session_id: SessionId(Uuid::from_u128(2)),
            tenant_id: TenantId(Uuid::from_u128(3)),
            email: "dev@acme.com".to_owned(),
            role: Role::Admin,
        }
    }

    fn issue(keys: &AccessTokens, now: DateTime<Utc>) -> String {
        keys.issue(&bearer(), Uuid::from_u128(4), now, now + LIFETIME).unwrap()
    }

    #[test]
    fn a_token_says_what_the_contract_says() {
        let token = issue(&keys(&[FIRST]), clock::now());
        let claims = token.split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["sub"], "00000000-0000-0000-0000-000000000001");
        assert_eq!(claims["role"], "Admin");
        assert_eq!(claims["iss"], "hooksentry-api");
        assert_eq!(claims["aud"], "hooksentry-client");
        assert_eq!(claims["tenant_id"], "00000000-0000-0000-0000-000000000003");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    }

    #[test]
    fn a_key_is_rotated_by_putting_a_new_one_in_front() {
        let old = issue(&keys(&[FIRST]), clock::now());
        assert!(keys(&[FIRST]).verify(&old).is_some());
        assert!(keys(&[SECOND, FIRST]).verify(&old).is_some());
        assert!(keys(&[SECOND]).verify(&old).is_none());
        let new = issue(&keys(&[SECOND, FIRST]), clock::now());
        assert!(keys(&[SECOND]).verify(&new).is_some());
        assert!(keys(&[FIRST]).verify(&new).is_none());
    }

    #[test]
    fn a_token_expires_and_cannot_be_altered() {
        let keys = keys(&[FIRST]);
        assert!(keys.verify(&issue(&keys, clock::now() - TimeDelta::minutes(14))).is_some());
        assert!(keys.verify(&issue(&keys, clock::now() - TimeDelta::minutes(16))).is_none());
        let token = issue(&keys, clock::now());
        let (head, signature) = token.rsplit_once('.').unwrap();
        let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
        let claims = head.split('.').nth(1).unwrap();
        for forged in [
            head.to_owned(),
            format!("{head}."),
            format!("{head}.{}", signature.to_uppercase()),
            format!("{unsigned}.{claims}."),
            format!("{unsigned}.{claims}.{signature}"),
            String::new(),
            "..".to_owned(),
        ] {
            assert!(keys.verify(&forged).is_none(), "{forged}");
        }
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_as_an_access_token(token in ".{0,200}|[A-Za-z0-9_.-]{0,300}") {
            proptest::prop_assert!(keys(&[FIRST]).verify(&token).is_none());
        }

        /// The parts of a token with other bytes in them, as base64, signed with the right key or with none.
        #[test]
        fn foreign_bytes_within_an_access_token(head: Vec<u8>, claims: Vec<u8>, signature: Vec<u8>, which in 0..3_usize) {
            let token = issue(&keys(&[FIRST]), clock::now());
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            let foreign = [head, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
            parts[which].clone_from(&foreign[which]);
            proptest::prop_assert!(keys(&[FIRST]).verify(&parts.join(".")).is_none());
            proptest::prop_assert!(keys(&[FIRST]).verify(&foreign.join(".")).is_none());
        }
    }
}
