//! `/erasures`: erasures of the payloads of all events that match a filter.

pub(crate) mod new;
pub(crate) mod one;

use crate::text::times::grouped;

/// Returns a number of events in words.
fn events(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "event" } else { "events" })
}
