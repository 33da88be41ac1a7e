//! Ingest requests, rendered before the load begins.

use std::ops::Range;

use super::payload::PayloadMix;
use super::setup::Target;

/// Digits of the number in an idempotency key.
const KEY_DIGITS: usize = 20;

/// The requests of one load: every target with every size of payload.
pub(super) struct IngestRequests {
    /// By target, then by size.
    rendered: Vec<Vec<Request>>,
    mix: PayloadMix,
}

struct Request {
    bytes: Vec<u8>,
    /// Where the number goes that makes the idempotency key unlike all others.
    key: Option<Range<usize>>,
}

impl IngestRequests {
    /// Requests to each of `targets` in turn. With a `run`, each carries an idempotency key that begins
    /// with it.
    pub(super) fn render(host: &str, targets: &[Target], mix: &PayloadMix, run: Option<&str>) -> Self {
        let payloads = mix.render();
        let render = |target: &Target| {
            payloads.iter().map(|payload| Request::render(host, target, payload, run)).collect()
        };
        Self { rendered: targets.iter().map(render).collect(), mix: mix.clone() }
    }

    /// The request with this number. `room` is where it is put together, if it must be.
    pub(super) fn request<'a>(&'a self, number: u64, room: &'a mut Vec<u8>) -> &'a [u8] {
        let targets = self.rendered.len() as u64;
        // Each round goes to every target once; sizes change from round to round and within a round.
        let target = &self.rendered[usize::try_from(number % targets).unwrap_or_default()];
        let request = &target[self.mix.pick(number / targets + number % targets)];
        let Some(key) = &request.key else { return &request.bytes };
        room.clear();
        room.extend_from_slice(&request.bytes);
        let digits = format!("{number:0KEY_DIGITS$}");
        room[key.clone()].copy_from_slice(digits.as_bytes());
        room
    }
}

impl Request {
    fn render(host: &str, target: &Target, payload: &str, run: Option<&str>) -> Self {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nx-api-key: {}\r\n",
            target.ingest.path(),
            payload.len(),
            target.ingest.api_key
        );
        let key = run.map(|run| {
            head.push_str("x-idempotency-key: ");
            head.push_str(run);
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
