//! An ingest request and its headers.

use std::sync::Arc;

use aggregates::ids::TenantId;
use aggregates::sealed::TokenHash;
use axum::body::Bytes;
use axum::http::HeaderMap;

use super::memory::UsedMemory;
use crate::api::http::fields::text;
use crate::api::http::request_context::RequestContext;
use crate::secrets::token::TOKEN_CHARS_MAX;

/// A request to ingest a webhook.
pub(super) struct IngestRequest {
    pub(super) tenant_id: TenantId,
    pub(super) token: String,
    pub(super) key_hash: TokenHash,
    /// The idempotency key, if any, or what is wrong with it.
    pub(super) idempotency_key: Result<Option<String>, &'static str>,
    pub(super) payload: Bytes,
    /// Installations that the webhook passed through before this one.
    pub(super) hops: u16,
    pub(super) memory: Arc<UsedMemory>,
    pub(super) context: RequestContext,
}

/// Returns the only `X-Api-Key`.
pub(super) fn api_key(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("x-api-key").iter();
    let key = values.next()?.to_str().ok()?;
    (values.next().is_none() && !key.is_empty() && key.len() <= TOKEN_CHARS_MAX).then_some(key)
}

/// Returns the `X-Idempotency-Key`, if it is present and not empty.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all("x-idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("must not be given more than once");
    }
    let key = std::str::from_utf8(value.as_bytes()).map_err(|_| "must be text")?;
    if key.is_empty() {
        return Ok(None);
    }
    text::idempotency_key(key).map(|key| Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use aggregates::text::IDEMPOTENCY_KEY_CHARS_MAX;
    use axum::http::HeaderValue;

    use super::*;

    fn key(value: &[u8]) -> Result<Option<String>, &'static str> {
        let value = HeaderValue::from_bytes(value).unwrap();
        idempotency_key(&[("x-idempotency-key".parse().unwrap(), value)].into_iter().collect())
    }

    #[test]
    fn an_idempotency_key_is_bounded_text() {
        assert_eq!(key(b"order-7"), Ok(Some("order-7".to_owned())));
        assert_eq!(key("schl\u{fc}ssel".as_bytes()), Ok(Some("schl\u{fc}ssel".to_owned())));
        assert_eq!(key(b""), Ok(None));
        assert!(key(&[b'x'; 255]).is_ok());
        assert!(key("\u{e9}".repeat(255).as_bytes()).is_ok());
        for bad in [&[b'x'; 256][..], b"a\tb", b"\xff", "a\u{85}b".as_bytes()] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_as_an_idempotency_key(value in prop::collection::vec(any::<u8>(), 0..400)) {
            let Ok(header) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers: HeaderMap = [("x-idempotency-key".parse().unwrap(), header)].into_iter().collect();
            if let Ok(Some(key)) = idempotency_key(&headers) {
                prop_assert_eq!(key.as_bytes(), value);
                prop_assert!(key.chars().count() <= IDEMPOTENCY_KEY_CHARS_MAX);
            }
        }
    }
}
