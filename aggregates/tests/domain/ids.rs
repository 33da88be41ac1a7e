//! Ids as text.

use aggregates::ids::WebhookEventId;
use uuid::Uuid;

#[test]
fn an_id_is_read_as_it_is_printed() {
    let id = WebhookEventId(Uuid::from_u128(7));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("order-7".parse::<WebhookEventId>().is_err());
}
