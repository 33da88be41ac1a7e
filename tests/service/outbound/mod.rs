//! Single attempts against receivers of all kinds: regular, broken, slow and malicious ones.

mod answers;
mod guard;
mod hostile;
mod listener;
mod receiver;
mod tls;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use aggregates::destination::AuthType;
use aggregates::destination_url::DestinationUrl;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::outbound_credentials::OutboundCredentials;
use aggregates::target_rules::TargetRules;
use hooksentry::clock;
use hooksentry::worker::outbound_client::{OutboundClient, OutboundSettings};
use hooksentry::worker::request::Request;
use hooksentry::worker::signature::SigningSecrets;
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

const SECRET: &str = "whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c";

/// Short enough to wait for, long enough for a busy machine to answer within.
const TIMEOUT_SHORT: Duration = Duration::from_secs(1);

/// So long that a test which reaches it has failed.
const TIMEOUT_LONG: Duration = Duration::from_secs(20);

fn settings(timeout: Duration) -> OutboundSettings {
    OutboundSettings { timeout, rules: TargetRules::insecure(), ..OutboundSettings::default() }
}

fn client(timeout: Duration) -> OutboundClient {
    OutboundClient::new(&settings(timeout)).unwrap()
}

fn request(url: &str) -> Request {
    Request {
        tenant_id: TenantId(Uuid::from_u128(2)),
        destination_id: DestinationId(Uuid::from_u128(1)),
        event_id: WebhookEventId(Uuid::from_u128(0x0198_c5a2)),
        attempt: 3,
        url: DestinationUrl::parse(url, &TargetRules::insecure()).unwrap(),
        body: r#"{"a":1}"#.into(),
        hops: 0,
        secrets: SigningSecrets::from(SecretString::from(SECRET)),
        credentials: None,
        traceparent: None,
        at: clock::now(),
    }
}

fn with_credentials(request: Request, auth_type: AuthType, credentials: Value) -> Request {
    let credentials = OutboundCredentials::parse(auth_type, &credentials, &TargetRules::insecure()).unwrap();
    Request { credentials: Some(Arc::new(credentials)), ..request }
}
