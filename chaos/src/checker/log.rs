//! Checks of the log, and of the read models against it.

use std::collections::{BTreeMap, HashMap};

use super::index::Index;
use super::{Invariant, Violations};

/// Checks the log and the read models.
pub(super) fn check(index: &Index<'_>, violations: &mut Violations) {
    check_order(index, violations);
    check_ended(index, violations);
    check_balance(index, violations);
    if let Some(drift) = &index.history.drift {
        violations.add(Invariant::ReadModelsEqualLog, format!("verify-projections says: {drift}"));
    }
}

fn check_order(index: &Index<'_>, violations: &mut Violations) {
    let mut versions: HashMap<(&str, &str), i64> = HashMap::new();
    for fact in &index.history.facts {
        let version = versions.entry((&fact.aggregate_type, &fact.aggregate_id)).or_default();
        if fact.sequence != *version + 1 {
            let text = format!(
                "{} {}: sequence {} follows {version} in the log",
                fact.aggregate_type, fact.aggregate_id, fact.sequence
            );
            match fact.id().filter(|_| fact.is_of_event()) {
                Some(id) => violations.of_event(Invariant::LogOrdered, id, text),
                None => violations.add(Invariant::LogOrdered, text),
            }
        }
        *version = fact.sequence;
    }
}

fn check_ended(index: &Index<'_>, violations: &mut Violations) {
    for (id, event) in &index.events {
        if event.is_accepted() && event.final_status().is_none() {
            let last = event.facts.last().map_or("nothing", |fact| &fact.event_type);
            let text = format!("the event has not ended; its last fact is {last}");
            violations.of_event(Invariant::NoneStuck, *id, text);
        }
    }
}

fn check_balance(index: &Index<'_>, violations: &mut Violations) {
    let rows: BTreeMap<_, _> = index.history.read_model.iter().copied().collect();
    let mut accepted = 0;
    for (id, event) in index.events.iter().filter(|(_, event)| event.is_accepted()) {
        accepted += 1;
        let (shown, logged) = (rows.get(id).copied(), event.final_status());
        // Without an end an event may have several statuses, but none of those of an end.
        let fits = match (shown, logged) {
            (Some(shown), Some(logged)) => shown == logged,
            (Some(shown), None) => !["Succeeded", "CriticalFailure", "Cancelled"].contains(&shown),
            (None, _) => false,
        };
        if !fits {
            let text = format!("the read model shows {shown:?} and the log {logged:?}");
            violations.of_event(Invariant::CountsBalance, *id, text);
        }
    }
    if rows.len() != accepted {
        let text = format!("{accepted} events are accepted, and the read model has {}", rows.len());
        violations.add(Invariant::CountsBalance, text);
    }
}
