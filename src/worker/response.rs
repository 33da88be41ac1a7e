//! Reads an answer without trusting it: so many bytes, so long, and then no more.

use std::collections::BTreeMap;

use reqwest::Response;
use reqwest::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

/// The most that is read of a body. A body that ends within it leaves its connection fit for the next
/// request; one that does not costs the connection.
pub(super) const BODY_BYTES_READ_MAX: usize = 64 * 1024;

/// The most that is kept of a body.
pub(super) const EXCERPT_BYTES_MAX: usize = 2 * 1024;

/// The most that is kept of a header's value, in characters.
const HEADER_LENGTH_MAX: usize = 256;

/// The headers that help to find out what a destination did with a webhook.
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

/// How the reading of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// All of it was read.
    Whole,
    /// There was more than is read.
    TooLong,
    /// It did not end in time.
    Late,
    /// The connection broke.
    Broken,
}

/// Reads a body to its end, to the limit or to the deadline, and keeps its first bytes.
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

/// The start of a body as text, at most [`EXCERPT_BYTES_MAX`] bytes of it, or nothing for an empty body.
pub(super) fn excerpt(body: &[u8]) -> Option<String> {
    let mut text = storable(&String::from_utf8_lossy(body));
    while text.len() > EXCERPT_BYTES_MAX {
        text.pop();
    }
    (!text.is_empty()).then_some(text)
}

/// The headers worth keeping, cut.
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

/// PostgreSQL's text and jsonb hold every character but one.
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
    fn headers_are_chosen_and_cut() {
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
