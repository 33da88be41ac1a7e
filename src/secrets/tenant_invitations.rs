//! Invitations to register a tenant: tokens that the operator signs.
//!
//! An invitation is not stored. Its token contains its id and its expiry, authenticated with a key that is derived from
//! those that sign access tokens, and is valid while its key is among them. A reservation in the log lets each id
//! register one tenant.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use uuid::Uuid;

use super::signing_keys::SigningKeys;

/// Purpose in the key derivation. Changing it invalidates every invitation.
const PURPOSE: &[u8] = b"hooksentry tenant invitation v1";
/// Prefix of the tokens.
const PREFIX: &str = "tinv_";
const TAG_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// Issues and verifies invitations.
#[derive(Clone, Debug)]
pub struct TenantInvitations {
    /// The first key issues invitations; all of them verify.
    keys: Vec<SecretSlice<u8>>,
}

/// An invitation whose token is authentic. It may have expired or been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantInvitation {
    pub id: Uuid,
    pub expires_at: DateTime<Utc>,
}

impl TenantInvitations {
    #[must_use]
    pub fn new(signing_keys: &SigningKeys) -> Self {
        let derive = |key: &[u8]| tag(key, PURPOSE).finalize().into_bytes().to_vec().into();
        Self { keys: signing_keys.iter().map(|key| derive(key.expose_bytes())).collect() }
    }

    /// Returns the token of an invitation. The expiry is cut to whole seconds.
    #[must_use]
    pub fn issue(&self, invitation: TenantInvitation) -> SecretString {
        let mut content = invitation.id.as_bytes().to_vec();
        content.extend(invitation.expires_at.timestamp().to_be_bytes());
        let key = self.keys.first().expect("there is always a signing key");
        let mut token = tag(key.expose_secret(), &content).finalize().into_bytes().to_vec();
        token.extend(content);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(token)).into()
    }

    /// Returns the invitation of a token, if the operator issued it.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<TenantInvitation> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
        let (given, content) = bytes.split_at_checked(TAG_BYTES)?;
        let is_authentic =
            |key: &SecretSlice<u8>| tag(key.expose_secret(), content).verify_slice(given).is_ok();
        if !self.keys.iter().any(is_authentic) {
            return None;
        }
        let (id, seconds) = content.split_at_checked(ID_BYTES)?;
        let expires_at = DateTime::from_timestamp(i64::from_be_bytes(seconds.try_into().ok()?), 0)?;
        Some(TenantInvitation { id: Uuid::from_slice(id).ok()?, expires_at })
    }
}

fn tag(key: &[u8], content: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(content);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> TenantInvitation {
        TenantInvitation {
            id: Uuid::from_u128(7),
            expires_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        }
    }

    #[test]
    fn an_invitation_is_valid_while_its_key_is_known() {
        let (old, new) = ("0123456789abcdef".repeat(2), "ghijklmnopqrstuv".repeat(2));
        let keys = |text: String| TenantInvitations::new(&text.parse().unwrap());
        let token = keys(format!("old:{old}")).issue(invitation());
        let token = token.expose_secret();
        assert_eq!(keys(format!("new:{new},old:{old}")).verify(token), Some(invitation()));
        assert_eq!(keys(format!("new:{new}")).verify(token), None);
    }

    #[test]
    fn a_token_that_was_not_issued_is_refused() {
        let invitations = TenantInvitations::new(&SigningKeys::generate());
        let token = invitations.issue(invitation()).expose_secret().to_owned();
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character has unused bits, which must be zero.
            assert_eq!(invitations.verify(&changed), None, "{changed}");
        }
        for token in ["", "tinv_", "tinv_AAAA", &token[..40], &format!("{token}AAAA"), &token[5..]] {
            assert_eq!(invitations.verify(token), None, "{token}");
        }
    }
}
