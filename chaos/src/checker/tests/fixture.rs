//! A small history without a violation, and its parts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::checker::deliveries::authenticate;
use crate::history::{
    Answer, AnswerResult, Behaviour, Destination, Fact, History, Request, RequestEnd, RunTime, Sent,
    Signatures, StoredPayload, Tenant,
};

pub(super) const EVENT: Uuid = Uuid::from_u128(1);
const DESTINATION: Uuid = Uuid::from_u128(1_000);
const SECRET: &str = "whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c";

/// One event: accepted at 1.05 s, delivered from 1.2 to 1.3 s, recorded at 1.35 s.
pub(super) fn history() -> History {
    History {
        seed: 7,
        delivery_timeout: Duration::from_secs(5),
        tenants: vec![Tenant { id: Uuid::from_u128(2_000), webhook_secret: SECRET.to_owned() }],
        destinations: vec![Destination {
            id: DESTINATION,
            tenant: 0,
            behaviour: Behaviour::Healthy,
            limit: 1,
        }],
        sent: vec![sent(0, vec![answer(1.0, AnswerResult::Accepted(EVENT))])],
        requests: vec![request(EVENT, 1, 0, 1.2)],
        facts: delivered(EVENT, 0, 1.0),
        read_model: vec![(EVENT, "Succeeded")],
        ..History::default()
    }
}

pub(super) fn seconds(seconds: f64) -> RunTime {
    Duration::from_secs_f64(seconds)
}

fn payload(number: u64) -> Bytes {
    Bytes::from(format!("{{\"number\":{number}}}"))
}

pub(super) fn sent(number: u64, answers: Vec<Answer>) -> Sent {
    Sent { destination: 0, idempotency_key: None, payload: payload(number), answers }
}

pub(super) fn answer(began: f64, result: AnswerResult) -> Answer {
    Answer { began: seconds(began), ended: seconds(began + 0.1), result }
}

/// Returns the facts of the event with payload `number`, accepted soon after `at` and delivered by one attempt.
pub(super) fn delivered(event_id: Uuid, number: u64, at: f64) -> Vec<Fact> {
    let (payload, salt) = (payload(number), vec![7; 32]);
    let commitment = hex::encode(authenticate(&salt, &[&payload]));
    let acceptance = json!({ "destinationId": DESTINATION, "payload": { "hmacSha256": commitment } });
    let stored = StoredPayload { sha256: hex::encode(Sha256::digest(&payload)), salt };
    vec![
        Fact { stored: Some(stored), ..fact(event_id, 1, "EventAccepted", at + 0.05, acceptance) },
        started(event_id, 2, 1, at + 0.15),
        attempted(event_id, 3, 1, "succeeded", at + 0.35),
    ]
}

pub(super) fn started(event_id: Uuid, sequence: i64, attempt: u32, at: f64) -> Fact {
    fact(event_id, sequence, "DeliveryStarted", at, json!({ "attempt": attempt }))
}

pub(super) fn attempted(event_id: Uuid, sequence: i64, attempt: u32, outcome: &str, at: f64) -> Fact {
    let fields = json!({ "attempt": attempt, "report": { "outcome": outcome } });
    fact(event_id, sequence, "DeliveryAttempted", at, fields)
}

pub(super) fn fact(event_id: Uuid, sequence: i64, event_type: &str, at: f64, fields: Value) -> Fact {
    Fact {
        aggregate_type: "WebhookEvent".to_owned(),
        aggregate_id: event_id.to_string(),
        sequence,
        event_type: event_type.to_owned(),
        payload: json!({ event_type: fields }),
        recorded: seconds(at),
        stored: None,
    }
}

/// Returns a request with payload `number`, which is answered with 200 after 0.1 s.
pub(super) fn request(event_id: Uuid, attempt: u32, number: u64, began: f64) -> Request {
    request_with_body(event_id, attempt, &payload(number), began)
}

pub(super) fn request_with_body(event_id: Uuid, attempt: u32, body: &[u8], began: f64) -> Request {
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let signed = format!("{event_id}.1700000000.");
    Request {
        destination: 0,
        event_id,
        attempt,
        began: seconds(began),
        ended: seconds(began + 0.1),
        end: RequestEnd::Answered(200),
        signatures: Signatures {
            plain: format!("sha256={}", hex::encode(authenticate(SECRET.as_bytes(), &[body]))),
            id: event_id.to_string(),
            timestamp: "1700000000".to_owned(),
            standard: format!("v1,{}", STANDARD.encode(authenticate(&key, &[signed.as_bytes(), body]))),
        },
        body: Some(Bytes::copy_from_slice(body)),
    }
}
