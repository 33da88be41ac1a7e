//! Bounded reading of untrusted responses.

use std::collections::BTreeMap;

use reqwest::Response;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

/// Maximum number of bytes that are read of a body. The connection can be used again if the body is shorter;
/// otherwise it is closed.
pub(super) const BODY_BYTES_READ_MAX: usize = 64 * 1024;

/// Maximum number of bytes that are stored of a body.
pub(super) const EXCERPT_BYTES_MAX: usize = 2 * 1024;

/// Maximum number of characters that are stored of a header's value.
const HEADER_LENGTH_MAX: usize = 256;

/// Maximum number of characters that are stored of a detail.
const DETAIL_CHARS_MAX: usize = 500;

/// Stored headers: those that help to find out how a destination processed a webhook.
const HEADERS_KEPT: [&str; 13] = [
    "allow",
    "cf-ray",
    "content-length",
    "content-type",
    "date",
    "location",
    "request-id",
    "retry-after",
    "server",
    "via",
    "www-authenticate",
    "x-correlation-id",
    "x-request-id",
];

/// End of reading a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Whole,
    /// The body has more than [`BODY_BYTES_READ_MAX`] bytes.
    TooLong,
    /// The deadline was reached.
    Late,
    /// The connection broke.
    Broken,
}

/// Reads a body to its end, to the limit or to the deadline, and returns its first bytes.
pub(super) async fn read_body(
    response: &mut Response,
    kept_max: usize,
    deadline: Instant,
) -> (Vec<u8>, BodyEnd) {
    let mut kept = Vec::new();
    let mut read = 0;
    let end = loop {
        match timeout_at(deadline, response.chunk()).await {
            Err(_) => break BodyEnd::Late,
            Ok(Err(_)) => break BodyEnd::Broken,
            Ok(Ok(None)) => break BodyEnd::Whole,
            Ok(Ok(Some(chunk))) => {
                let wanted = kept_max.saturating_sub(kept.len()).min(chunk.len());
                kept.extend_from_slice(&chunk[..wanted]);
                read += chunk.len();
                if read > BODY_BYTES_READ_MAX {
                    break BodyEnd::TooLong;
                }
            }
        }
    };
    (kept, end)
}

/// Returns the start of a body as text of at most [`EXCERPT_BYTES_MAX`] bytes; `None` for an empty body.
pub(super) fn excerpt(body: &[u8]) -> Option<String> {
    let mut text = storable(&String::from_utf8_lossy(body));
    while text.len() > EXCERPT_BYTES_MAX {
        text.pop();
    }
    (!text.is_empty()).then_some(text)
}

/// Returns the headers to store, with truncated values.
pub(super) fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    HEADERS_KEPT
        .iter()
        .filter_map(|&name| {
            let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
            let cut: String = value.chars().take(HEADER_LENGTH_MAX).collect();
            Some((name.to_owned(), storable(&cut)))
        })
        .collect()
}

/// Returns the start of a detail, which may quote a certificate or an answer.
pub(super) fn bounded_detail(detail: &str) -> String {
    storable(&detail.chars().take(DETAIL_CHARS_MAX).collect::<String>())
}

/// Replaces NUL, the only character that PostgreSQL's text and jsonb cannot store.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt(b"no\x01 \xff!\0").as_deref(), Some("no\u{1} \u{fffd}!\u{fffd}"));
        let body = "€".repeat(1000);
        let cut = excerpt(body.as_bytes()).unwrap();
        assert_eq!(cut, "€".repeat(EXCERPT_BYTES_MAX / 3));
        assert!(excerpt(&[0xff; EXCERPT_BYTES_MAX]).unwrap().len() <= EXCERPT_BYTES_MAX);
    }

    #[test]
    fn headers_are_selected_and_truncated() {
        let mut headers = HeaderMap::new();
        headers.insert("Server", "a".repeat(1000).parse().unwrap());
        headers.insert("location", reqwest::header::HeaderValue::from_bytes(b"/\xff").unwrap());
        headers.insert("set-cookie", "secret".parse().unwrap());
        let kept = kept_headers(&headers);
        assert_eq!(kept.len(), 2);
        assert_eq!(kept["server"].len(), HEADER_LENGTH_MAX);
        assert_eq!(kept["location"], "/\u{fffd}");
    }
}
