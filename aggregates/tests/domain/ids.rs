//! Derived ids.

use aggregates::ids::{TenantId, WebhookEventId};

use crate::given::ACME;

/// The ids are stored. If they changed, a repeated webhook event would be accepted again.
#[test]
fn the_id_of_an_idempotency_key_never_changes() {
    assert_eq!(
        WebhookEventId::for_idempotency_key(ACME, "order-7").to_string(),
        "82975d89-de57-5090-a3d7-7bf5385bb938"
    );
}

#[test]
fn the_same_idempotency_key_of_another_tenant_is_another_event() {
    let here = WebhookEventId::for_idempotency_key(ACME, "order-7");
    let there = WebhookEventId::for_idempotency_key(TenantId::default(), "order-7");
    assert_ne!(here, there);
}

#[test]
fn idempotency_keys_are_compared_exactly() {
    let id = |key| WebhookEventId::for_idempotency_key(ACME, key);
    assert_ne!(id("order-7"), id("Order-7"));
    assert_ne!(id("order-7"), id("order-7 "));
}

#[test]
fn an_id_is_read_as_it_is_printed() {
    let id = WebhookEventId::for_idempotency_key(ACME, "order-7");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("order-7".parse::<WebhookEventId>().is_err());
}
