//! How many facts are applied in one transaction.
//!
//! Counts and statistics have rows for each destination, and a transaction writes each row once, however many of its facts
//! concern it. With few destinations a short transaction writes few rows. With a thousand, nearly every event of a short one
//! would write all rows of its destination, so transactions are longer.

use std::collections::HashSet;

use aggregates::fact::Fact;
use aggregates::webhook_event::WebhookEventFact;
use projections::LoggedFact;

/// Most facts applied in one transaction. Higher: longer transactions. Lower: each transaction writes fewer rows,
/// and some rows more often.
const FACTS_MAX: usize = 2_000;
/// The same while the facts of many destinations are applied. As many are kept of what the dispatcher has read.
const FACTS_MAX_OF_MANY: usize = 16_000;
/// Acceptances and attempts of a destination in one transaction, on average, below which there are many destinations.
const FACTS_OF_DESTINATION_MIN: usize = 16;

/// Returns how many facts to apply in the transaction after that of `facts`.
pub(super) fn after(facts: &[LoggedFact]) -> usize {
    let destinations = facts.iter().filter_map(|logged| match &logged.fact {
        Fact::WebhookEvent(WebhookEventFact::EventAccepted(acceptance)) => Some(acceptance.destination_id),
        Fact::WebhookEvent(WebhookEventFact::DeliveryAttempted { destination_id, .. }) => {
            Some(*destination_id)
        }
        _ => None,
    });
    let (mut count, mut distinct) = (0, HashSet::new());
    for destination_id in destinations {
        count += 1;
        distinct.insert(destination_id);
    }
    facts_max(count, distinct.len())
}

/// Returns how many facts to apply after so many that concern so many destinations.
fn facts_max(facts: usize, destinations: usize) -> usize {
    // After a few facts, for which few rows are written, the size does not matter.
    if facts < destinations * FACTS_OF_DESTINATION_MIN { FACTS_MAX_OF_MANY } else { FACTS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_longer_while_there_are_many_destinations() {
        assert_eq!(after(&[]), FACTS_MAX);
        assert_eq!(facts_max(1_333, 1), FACTS_MAX);
        assert_eq!(facts_max(1_333, 50), FACTS_MAX);
        assert_eq!(facts_max(1_333, 500), FACTS_MAX_OF_MANY);
        assert_eq!(facts_max(10_666, 1_000), FACTS_MAX_OF_MANY, "and stay so");
        assert_eq!(facts_max(10_666, 100), FACTS_MAX);
    }
}
