//! Ingest requests, rendered before a load begins.

use std::ops::Range;

use crate::payload::PayloadMix;
use crate::setup::Target;

/// Digits of the number in an idempotency key.
const KEY_DIGITS: usize = 20;

/// Requests of one load: each target with each size of payload.
pub(crate) struct IngestRequests {
    /// By target, then by size.
    rendered: Vec<Vec<Request>>,
    mix: PayloadMix,
}

struct Request {
    bytes: Vec<u8>,
    /// Range of the number that makes the idempotency key unique.
    key: Option<Range<usize>>,
}

impl IngestRequests {
    /// Renders requests to each of `targets` in turn. With a `key_prefix` each has an idempotency key that
    /// begins with it.
    pub(crate) fn render(host: &str, targets: &[Target], mix: &PayloadMix, key_prefix: Option<&str>) -> Self {
        let payloads = mix.render();
        let render = |target: &Target| {
            payloads.iter().map(|payload| Request::render(host, target, payload, key_prefix)).collect()
        };
        Self { rendered: targets.iter().map(render).collect(), mix: mix.clone() }
    }

    /// Returns the request with this number. A request with an idempotency key is written to `buffer`.
    pub(crate) fn request<'a>(&'a self, number: u64, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let targets = self.rendered.len() as u64;
        // Each round sends to every target once; sizes change between rounds and within a round.
        let target = &self.rendered[usize::try_from(number % targets).unwrap_or_default()];
        let request = &target[self.mix.pick(number / targets + number % targets)];
        let Some(key) = &request.key else { return &request.bytes };
        buffer.clear();
        buffer.extend_from_slice(&request.bytes);
        let digits = format!("{number:0KEY_DIGITS$}");
        buffer[key.clone()].copy_from_slice(digits.as_bytes());
        buffer
    }
}

impl Request {
    fn render(host: &str, target: &Target, payload: &str, key_prefix: Option<&str>) -> Self {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nx-api-key: {}\r\n",
            target.ingest.path(),
            payload.len(),
            target.ingest.api_key
        );
        let key = key_prefix.map(|prefix| {
            head.push_str("x-idempotency-key: ");
            head.push_str(prefix);
            head.push('-');
            let start = head.len();
            head.push_str(&"0".repeat(KEY_DIGITS));
            head.push_str("\r\n");
            start..start + KEY_DIGITS
        });
        head.push_str("\r\n");
        head.push_str(payload);
        Self { bytes: head.into_bytes(), key }
    }
}

#[cfg(test)]
mod tests {
    use hooksentry_client::IngestTarget;
    use uuid::Uuid;

    use super::*;

    fn target(name: &str) -> Target {
        let ingest = IngestTarget {
            tenant_id: Uuid::nil(),
            ingest_token: format!("dst_{name}"),
            api_key: format!("hks_{name}"),
        };
        Target { destination_id: Uuid::nil(), ingest }
    }

    fn text(requests: &IngestRequests, number: u64) -> String {
        String::from_utf8(requests.request(number, &mut Vec::new()).to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_complete() {
        let mix = "20".parse().unwrap();
        let requests = IngestRequests::render("127.0.0.1:1", &[target("a")], &mix, None);
        let (head, body) =
            text(&requests, 7).split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(
            head.lines().collect::<Vec<_>>(),
            [
                "POST /api/v1/ingest/00000000-0000-0000-0000-000000000000/dst_a HTTP/1.1",
                "host: 127.0.0.1:1",
                "content-type: application/json",
                "content-length: 20",
                "x-api-key: hks_a",
            ]
        );
        assert_eq!(body.len(), 20);
    }

    #[test]
    fn targets_take_turns_and_get_every_size() {
        let targets = [target("a"), target("b")];
        let requests = IngestRequests::render("h", &targets, &"20,30".parse().unwrap(), None);
        let mut seen: Vec<_> = (0..4)
            .map(|number| {
                let text = text(&requests, number);
                (text.contains("dst_a"), text.contains("content-length: 20"))
            })
            .collect();
        assert_eq!(seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), [true, false, true, false]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4, "each target gets each size");
    }

    #[test]
    fn idempotency_keys_differ_and_nothing_else_does() {
        let requests = IngestRequests::render("h", &[target("a")], &"20".parse().unwrap(), Some("run"));
        let (first, last) = (text(&requests, 0), text(&requests, u64::MAX));
        assert!(first.contains("\r\nx-idempotency-key: run-00000000000000000000\r\n"), "{first}");
        assert!(last.contains(&format!("\r\nx-idempotency-key: run-{}\r\n", u64::MAX)), "{last}");
        assert_eq!(first.len(), last.len());
    }
}
