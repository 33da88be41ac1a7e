//! Cursors: places in a list that callers carry from one page to the next.
//!
//! A cursor is opaque, and authenticated: it is good for the list it was made for (the tenant, the filters,
//! the order) and for no other, and what it says was said by us. It holds nothing that its page did not
//! show. The key is derived from the keys that sign access tokens; a cursor is good as long as the key it
//! was made with is among them.

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

/// What the keys are derived for. Changing it voids every cursor.
const PURPOSE: &[u8] = b"hooksentry cursor v1";
/// Bytes of the authentication tag.
const TAG_BYTES: usize = 32;
/// Longest cursor that is looked at, in characters.
pub(crate) const CURSOR_CHARS_MAX: usize = 8_192;

/// Makes cursors and understands them.
#[derive(Clone, Debug)]
pub(crate) struct Cursors {
    /// The first one makes; each is good.
    keys: Arc<[SecretSlice<u8>]>,
}

/// A list: everything that decides which items it has, and in which order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    /// Which list it is, such as `events`.
    pub(crate) name: &'a str,
    /// Whose it is.
    pub(crate) tenant_id: TenantId,
    /// Its filters and its order, in the same words whenever they are the same.
    pub(crate) terms: &'a str,
}

impl Cursors {
    pub(crate) fn new(signing_keys: &SigningKeys) -> Self {
        let derive = |key: &[u8]| tag(key, &[PURPOSE]).finalize().into_bytes().to_vec().into();
        Self { keys: signing_keys.iter().map(|key| derive(key.expose_bytes())).collect() }
    }

    /// The cursor of a place in a list.
    pub(crate) fn make<P: Serialize>(&self, list: List<'_>, place: &P) -> Result<String, serde_json::Error> {
        let place = serde_json::to_vec(place)?;
        let key = self.keys.first().expect("there is always a key that signs");
        let mut cursor = list.tag(key, &place).finalize().into_bytes().to_vec();
        cursor.extend(place);
        Ok(URL_SAFE_NO_PAD.encode(cursor))
    }

    /// The place of a cursor, if it was made for this list.
    pub(crate) fn read<P: DeserializeOwned>(&self, list: List<'_>, cursor: &str) -> Option<P> {
        if cursor.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (given, place) = bytes.split_at_checked(TAG_BYTES)?;
        let is_ours = |key: &SecretSlice<u8>| list.tag(key, place).verify_slice(given).is_ok();
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        // What we wrote in another version may mean nothing now.
        serde_json::from_slice(place).ok()
    }
}

impl List<'_> {
    fn tag(self, key: &SecretSlice<u8>, place: &[u8]) -> Hmac<Sha256> {
        let parts = [self.name.as_bytes(), self.tenant_id.0.as_bytes(), self.terms.as_bytes(), place];
        tag(key.expose_secret(), &parts)
    }
}

/// Authenticates parts, each with its length, so that nothing can move from one to the next.
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
    use uuid::Uuid;

    use super::*;

    const LIST: List<'_> = List { name: "events", tenant_id: TenantId(Uuid::from_u128(1)), terms: "by time" };

    #[test]
    fn a_cursor_is_good_for_its_list_and_for_no_other() {
        let cursors = Cursors::new(&SigningKeys::generate());
        let cursor = cursors.make(LIST, &(7, "place")).unwrap();
        let read = |list| cursors.read::<(u32, String)>(list, &cursor);
        assert_eq!(read(LIST), Some((7, "place".to_owned())));
        assert_eq!(read(List { name: "users", ..LIST }), None);
        assert_eq!(read(List { tenant_id: TenantId(Uuid::from_u128(2)), ..LIST }), None);
        assert_eq!(read(List { terms: "by id", ..LIST }), None);
        assert_eq!(read(List { name: "event", terms: "sby time", ..LIST }), None);
        assert_eq!(Cursors::new(&SigningKeys::generate()).read::<(u32, String)>(LIST, &cursor), None);
    }

    #[test]
    fn a_cursor_that_was_tampered_with_is_no_cursor() {
        let cursors = Cursors::new(&SigningKeys::generate());
        let cursor = cursors.make(LIST, &(7, "place")).unwrap();
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
    fn a_cursor_outlives_the_change_to_another_key() {
        let (old, new) = ("a".repeat(32), "b".repeat(32));
        let before = Cursors::new(&format!("old:{old}").parse().unwrap());
        let cursor = before.make(LIST, &1).unwrap();
        let during = Cursors::new(&format!("new:{new},old:{old}").parse().unwrap());
        let after = Cursors::new(&format!("new:{new}").parse().unwrap());
        assert_eq!(during.read::<u32>(LIST, &cursor), Some(1));
        assert_eq!(after.read::<u32>(LIST, &cursor), None);
    }
}
