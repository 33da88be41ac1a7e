//! `/bulk-actions`: replays and cancellations of all events that match a filter.

pub(crate) mod list;
pub(crate) mod new;
pub(crate) mod one;

use std::collections::BTreeMap;

use crate::api::bulk_actions::BulkAction;
use crate::api::destinations::Destination;
use crate::text::times::{self, grouped};
use crate::words::{self, StatusWords};

/// What is done to each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replay,
    Cancel,
}

impl Action {
    /// Returns the action of this code of the API.
    fn of(code: &str) -> Option<Self> {
        match code {
            "Replay" => Some(Self::Replay),
            "Cancel" => Some(Self::Cancel),
            _ => None,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Replay => "Replay",
            Self::Cancel => "Cancel",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Replay => "Replay",
            Self::Cancel => "Cancellation",
        }
    }

    /// Returns what has been done to the events that did not refuse.
    fn participle(self) -> &'static str {
        match self {
            Self::Replay => "Replayed",
            Self::Cancel => "Cancelled",
        }
    }
}

/// A term of a filter in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) label: &'static str,
    pub(super) value: String,
}

/// Returns a filter in words; no terms: all events.
pub(super) fn terms(filter: &BTreeMap<String, String>, destinations: &[Destination]) -> Vec<Term> {
    let term = |(name, value): (&String, &String)| {
        let value = value.clone();
        let (label, value) = match name.as_str() {
            "status" => ("Status", StatusWords::of_event(&value).label.to_owned()),
            "destinationUrlId" => ("Destination", url_of(&value, destinations)),
            "senderId" => ("Sender", value),
            "outcome" => {
                ("Last attempt", words::outcome(&value).map_or(value.clone(), |words| words.label.to_owned()))
            }
            "httpStatus" => ("HTTP status", value),
            "from" => ("Accepted from", times::exact(&value)),
            "to" => ("Accepted until", times::exact(&value)),
            _ => ("Also", format!("{name} is {value}")),
        };
        Term { label, value }
    };
    filter.iter().map(term).collect()
}

fn url_of(id: &str, destinations: &[Destination]) -> String {
    let destination = destinations.iter().find(|destination| destination.id.to_string() == id);
    destination.map_or_else(|| id.to_owned(), |destination| destination.url.clone())
}

/// Returns how many events matched at the request.
fn matching(action: &BulkAction) -> String {
    let more = if action.events_is_lower_bound { "more than " } else { "" };
    let noun = if action.events == 1 && !action.events_is_lower_bound { "event" } else { "events" };
    format!("{more}{} {noun}", grouped(action.events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_put_in_words() {
        let filter = [
            ("status", "CriticalFailure"),
            ("httpStatus", "503"),
            ("planet", "Mars"),
            ("to", "2026-07-03T14:32:00.5Z"),
        ];
        let filter = filter.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let terms = terms(&filter, &[]);
        let terms: Vec<_> = terms.iter().map(|term| (term.label, term.value.as_str())).collect();
        let until = ("Accepted until", "2026-07-03 14:32:00.500 UTC");
        assert_eq!(
            terms,
            [("HTTP status", "503"), ("Also", "planet is Mars"), ("Status", "Given up"), until]
        );
    }
}
