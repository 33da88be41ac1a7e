//! Cursors: positions in a list, which the API returns with a page and accepts for the next one.
//!
//! A cursor is opaque and authenticated: it is valid only for the list that it was issued for (tenant, filters and
//! order). Its content is not encrypted and has only values from its page. The keys are derived from those that sign
//! access tokens; a cursor is valid while its key is among them.

use std::sync::Arc;

use aggregates::ids::TenantId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use crate::secrets::signing_keys::SigningKeys;

/// Purpose in the key derivation. Changing it invalidates every cursor.
const PURPOSE: &[u8] = b"hooksentry cursor v1";
/// Bytes of the authentication tag.
const TAG_BYTES: usize = 32;
/// Maximum length of a cursor in characters.
pub(crate) const CURSOR_CHARS_MAX: usize = 8_192;

/// Issues and reads cursors.
#[derive(Clone, Debug)]
pub(crate) struct Cursors {
    /// The first key issues cursors; all of them read cursors.
    keys: Arc<[SecretSlice<u8>]>,
}

/// Everything that determines the items of a list and their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    /// Name of the list, such as `events`.
    pub(crate) name: &'a str,
    pub(crate) tenant_id: TenantId,
    /// Filters and order. Equal filters and orders have equal terms.
    pub(crate) terms: &'a str,
}

impl Cursors {
    pub(crate) fn new(signing_keys: &SigningKeys) -> Self {
        let derive = |key: &[u8]| tag(key, &[PURPOSE]).finalize().into_bytes().to_vec().into();
        Self { keys: signing_keys.iter().map(|key| derive(key.expose_bytes())).collect() }
    }

    /// Issues the cursor of a position in a list.
    ///
    /// # Errors
    /// When the position cannot be serialized.
    pub(crate) fn issue<P: Serialize>(
        &self,
        list: List<'_>,
        position: &P,
    ) -> Result<String, serde_json::Error> {
        let position = serde_json::to_vec(position)?;
        let key = self.keys.first().expect("there is always a signing key");
        let mut cursor = list.tag(key, &position).finalize().into_bytes().to_vec();
        cursor.extend(position);
        Ok(URL_SAFE_NO_PAD.encode(cursor))
    }

    /// Returns the position of a cursor, if it was issued for this list.
    pub(crate) fn read<P: DeserializeOwned>(&self, list: List<'_>, cursor: &str) -> Option<P> {
        if cursor.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (given, position) = bytes.split_at_checked(TAG_BYTES)?;
        let is_authentic = |key: &SecretSlice<u8>| list.tag(key, position).verify_slice(given).is_ok();
        if !self.keys.iter().any(is_authentic) {
            return None;
        }
        // Another version of the program may have issued it in another form.
        serde_json::from_slice(position).ok()
    }
}

impl List<'_> {
    fn tag(self, key: &SecretSlice<u8>, position: &[u8]) -> Hmac<Sha256> {
        let parts = [self.name.as_bytes(), self.tenant_id.0.as_bytes(), self.terms.as_bytes(), position];
        tag(key.expose_secret(), &parts)
    }
}

/// Authenticates parts, each with its length, so that bytes cannot move from one part to the next.
fn tag(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const LIST: List<'_> = List { name: "events", tenant_id: TenantId(Uuid::from_u128(1)), terms: "by time" };

    #[test]
    fn a_cursor_is_valid_for_its_list_only() {
        let cursors = Cursors::new(&SigningKeys::generate());
        let cursor = cursors.issue(LIST, &(7, "position")).unwrap();
        let read = |list| cursors.read::<(u32, String)>(list, &cursor);
        assert_eq!(read(LIST), Some((7, "position".to_owned())));
        assert_eq!(read(List { name: "users", ..LIST }), None);
        assert_eq!(read(List { tenant_id: TenantId(Uuid::from_u128(2)), ..LIST }), None);
        assert_eq!(read(List { terms: "by id", ..LIST }), None);
        assert_eq!(read(List { name: "event", terms: "sby time", ..LIST }), None);
        assert_eq!(Cursors::new(&SigningKeys::generate()).read::<(u32, String)>(LIST, &cursor), None);
    }

    #[test]
    fn a_cursor_that_was_tampered_with_is_refused() {
        let cursors = Cursors::new(&SigningKeys::generate());
        let cursor = cursors.issue(LIST, &(7, "position")).unwrap();
        for index in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            assert_eq!(cursors.read::<(u32, String)>(LIST, &tampered), None, "{tampered}");
        }
        for nonsense in ["", "A", "not base64!", &cursor[..20], &"A".repeat(CURSOR_CHARS_MAX + 1)] {
            assert_eq!(cursors.read::<(u32, String)>(LIST, nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_cursor_is_valid_while_its_key_is_known() {
        let (old, new) =
            ("an-old-key-of-at-least-32-bytes-for-tests", "a-new-key-of-at-least-32-bytes-for-tests");
        let before = Cursors::new(&format!("old:{old}").parse().unwrap());
        let cursor = before.issue(LIST, &1).unwrap();
        let during = Cursors::new(&format!("new:{new},old:{old}").parse().unwrap());
        let after = Cursors::new(&format!("new:{new}").parse().unwrap());
        assert_eq!(during.read::<u32>(LIST, &cursor), Some(1));
        assert_eq!(after.read::<u32>(LIST, &cursor), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_as_a_cursor(cursor in ".{0,200}|[A-Za-z0-9_-]{0,700}") {
            let cursors = Cursors::new(&SigningKeys::generate());
            prop_assert_eq!(cursors.read::<(u32, String)>(LIST, &cursor), None);
        }
    }
}
