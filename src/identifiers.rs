//! Generated ids and random fractions that are not secret.
//!
//! The domain generates none; it receives ids and random numbers in commands.

use aggregates::ids::WebhookEventId;
use uuid::Uuid;

/// Generates an id for anything but a webhook event.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that generates ids")]
pub fn new_id() -> Uuid {
    Uuid::new_v4()
}

/// Generates an id for a webhook event without an idempotency key. Later ids sort later, so new rows are
/// inserted at the end of an index.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that generates ids")]
pub fn new_event_id() -> WebhookEventId {
    WebhookEventId(Uuid::now_v7())
}

/// Returns a random number in `0.0..1.0`.
#[must_use]
pub fn random_fraction() -> f64 {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_their_version_and_event_ids_sort_by_age() {
        assert_eq!(new_id().get_version_num(), 4);
        let ids: Vec<_> = (0..1_000).map(|_| new_event_id()).collect();
        assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_random_fraction_is_between_zero_and_one() {
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random_fraction())));
    }
}
