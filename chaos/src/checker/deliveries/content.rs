//! Checks of the bytes and signatures of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::checker::index::{EventRecord, Index};
use crate::checker::{Invariant, Violations};
use crate::history::Request;

/// Checks that the request has the body that was sent, arrived where it was sent to, and is signed with the
/// tenant's secret.
pub(super) fn check(
    index: &Index<'_>,
    event: &EventRecord<'_>,
    request: &Request,
    violations: &mut Violations,
) {
    let id = request.event_id;
    // A sender that was killed may have sent a part of it.
    let Some(body) = &request.body else { return };
    let digest = hex::encode(Sha256::digest(body));
    let sent = index.sent_by_digest.get(&digest).map(|number| &index.history.sent[*number]);
    match sent {
        None => {
            let text = format!("attempt {} has a body that no client sent", request.attempt);
            violations.of_event(Invariant::BytesKept, id, text);
        }
        Some(sent) if sent.destination != request.destination => {
            let text = format!("attempt {} has the body of another destination's webhook", request.attempt);
            violations.of_event(Invariant::BytesKept, id, text);
        }
        Some(_) => {}
    }
    if let Some(accepted) = event.all_facts().find(|fact| fact.event_type == "EventAccepted")
        && accepted.payload_digest() != Some(&digest)
    {
        let text = format!("the body of attempt {} is not that of its event", request.attempt);
        violations.of_event(Invariant::BytesKept, id, text);
    }
    let destination = &index.history.destinations[request.destination];
    let secret = &index.history.tenants[destination.tenant].webhook_secret;
    if !is_signed(request, body, secret) {
        let text = format!("a signature of attempt {} is invalid", request.attempt);
        violations.of_event(Invariant::Signed, id, text);
    }
}

/// Verifies both signatures, independently of the code that makes them.
fn is_signed(request: &Request, body: &[u8], secret: &str) -> bool {
    let found = &request.signatures;
    let plain = format!("sha256={}", hex::encode(authenticate(secret.as_bytes(), &[body])));
    let key = secret.strip_prefix("whsec_").unwrap_or(secret);
    let Ok(key) = STANDARD.decode(key) else { return false };
    let signed = format!("{}.{}.", request.event_id, found.timestamp);
    let standard = format!("v1,{}", STANDARD.encode(authenticate(&key, &[signed.as_bytes(), body])));
    found.plain == plain
        && found.id == request.event_id.to_string()
        && found.standard.split(' ').any(|signature| signature == standard)
}

/// Returns the HMAC-SHA256 of the parts.
pub(in crate::checker) fn authenticate(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        code.update(part);
    }
    code.finalize().into_bytes().into()
}
