//! Ids and random fractions: the program's own randomness that is no secret.
//!
//! The domain draws nothing; ids and random numbers travel to it in commands.

use aggregates::ids::WebhookEventId;
use uuid::Uuid;

/// A new id of anything but a webhook event.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
pub fn new_id() -> Uuid {
    Uuid::new_v4()
}

/// A new id of a webhook event that carries no idempotency key. Ids made later sort later, so new rows
/// go to the end of an index instead of all over it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
pub fn new_event_id() -> WebhookEventId {
    WebhookEventId(Uuid::now_v7())
}

/// A random number from 0 up to, but not including, 1.
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
    fn chance_lies_between_zero_and_one() {
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random_fraction())));
    }
}
