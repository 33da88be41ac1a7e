//! Ids of webhook events that follow from idempotency keys.

use aggregates::ids::WebhookEventId;

use super::cipher::Key;
use super::salt::hmac_sha256;

/// Purpose of the secret in its derivation from the data key of a tenant. Changing it makes every idempotency key new.
const PURPOSE: &[u8] = b"hooksentry event ids v1";

/// Secret of a tenant from which the ids of its events with an idempotency key follow.
pub(super) struct EventIdSecret(Key);

impl EventIdSecret {
    pub(super) fn of(data_key: &Key) -> Self {
        Self(data_key.derive_key(PURPOSE))
    }

    /// Returns the id of the event with this idempotency key: the first bits of an HMAC-SHA256 as a UUIDv8 (RFC 9562).
    /// Equal keys have equal ids, so the primary key of the log prevents a second event. Without the secret the id does not
    /// show whether a guess of the key is right.
    pub(super) fn id(&self, idempotency_key: &str) -> WebhookEventId {
        let mac = hmac_sha256(self.0.expose_bytes(), &[idempotency_key.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        WebhookEventId(uuid::Builder::from_custom_bytes(id).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(secret: u8, idempotency_key: &str) -> WebhookEventId {
        let secret = Key::from_bytes(vec![secret; 32]).expect("32 bytes");
        EventIdSecret(secret).id(idempotency_key)
    }

    /// The ids are stored. If they changed, a repeated webhook would be accepted again.
    #[test]
    fn the_id_of_an_idempotency_key_never_changes() {
        // printf %s order-7 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        assert_eq!(id(7, "order-7").to_string(), "0ddd0488-e0d6-86ee-8050-a396e15e1340");
        // printf %s 'hooksentry event ids v1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        let data_key = Key::from_bytes(vec![7; 32]).expect("32 bytes");
        let derived = EventIdSecret::of(&data_key);
        assert_eq!(
            hex::encode(derived.0.expose_bytes()),
            "dfb0652867e4cd8c63093a469d40f60e96faa4e6fd04f576c4d4f98f22c52c6b"
        );
    }

    #[test]
    fn idempotency_keys_are_compared_exactly_and_within_a_tenant() {
        assert_ne!(id(7, "order-7"), id(7, "Order-7"));
        assert_ne!(id(7, "order-7"), id(7, "order-7 "));
        assert_ne!(id(7, "order-7"), id(8, "order-7"));
    }
}
