//! Filters in facts: the terms by their names, with the texts that the query parameters take.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use thiserror::Error;

use super::filter::{Filter, FilterKind, FilterValue};

/// Term of a recorded filter that this program cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the recorded filter has the term {name:?} with the value {value:?}, which this program cannot read")]
pub struct UnreadableTerm {
    pub name: String,
    pub value: String,
}

impl FilterKind {
    /// Returns whether a value may be in a fact. What a source has sent may not: it must be erasable.
    #[must_use]
    pub fn is_recordable(self) -> bool {
        match self {
            Self::Flag | Self::OneOf(_) | Self::Id | Self::HttpStatus | Self::TimeFrom | Self::TimeTo => true,
            Self::IdempotencyKey => false,
        }
    }

    fn text(self, value: FilterValue) -> String {
        match (self, value) {
            (Self::OneOf(variants), FilterValue::Number(number)) => {
                let variant = variants().into_iter().find(|variant| variant.1 == number);
                variant.map_or_else(|| number.to_string(), |(name, _)| name.to_owned())
            }
            (_, FilterValue::Time(time)) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
            (_, value) => value.to_string(),
        }
    }

    fn parse(self, text: &str) -> Option<FilterValue> {
        match self {
            Self::Flag => text.parse().ok().map(FilterValue::Flag),
            Self::OneOf(variants) => {
                let variant = variants().into_iter().find(|(name, _)| *name == text)?;
                Some(FilterValue::Number(variant.1))
            }
            Self::Id => text.parse().ok().map(FilterValue::Id),
            Self::HttpStatus => text.parse().ok().map(FilterValue::Number),
            Self::TimeFrom | Self::TimeTo => {
                DateTime::parse_from_rfc3339(text).ok().map(|time| FilterValue::Time(time.to_utc()))
            }
            Self::IdempotencyKey => None,
        }
    }
}

/// Returns the terms of a filter as a fact has them. Those that may not be recorded are left out.
#[must_use]
pub fn recorded(filter: impl Filter) -> BTreeMap<String, String> {
    let terms = filter.terms().filter(|(field, _)| field.kind.is_recordable());
    terms.map(|(field, value)| (field.name.to_owned(), field.kind.text(value))).collect()
}

/// Returns the filter that a fact has.
///
/// # Errors
/// A term is unknown or has no value of its kind: without it, the filter would match more.
pub fn read_recorded<F: Filter>(terms: &BTreeMap<String, String>) -> Result<F, UnreadableTerm> {
    for (name, value) in terms {
        let field = F::FIELDS.iter().find(|field| field.name == name);
        if field.and_then(|field| field.kind.parse(value)).is_none() {
            return Err(UnreadableTerm { name: name.clone(), value: value.clone() });
        }
    }
    Ok(F::read(|field| field.kind.parse(terms.get(field.name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook_events::{EventStatus, Filter as EventFilter};

    fn terms(terms: &[(&str, &str)]) -> BTreeMap<String, String> {
        terms.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_recorded_filter_is_read_as_it_was() {
        let filter = EventFilter {
            status: Some(EventStatus::CriticalFailure),
            destination_id: Some("0190a7e0-0000-7000-8000-000000000001".parse().unwrap()),
            from: Some("2026-07-03T14:32:00.123456Z".parse().unwrap()),
            http_status: Some(502),
            ..EventFilter::default()
        };
        let written = recorded(filter);
        assert_eq!(
            written,
            terms(&[
                ("Status", "CriticalFailure"),
                ("DestinationUrlId", "0190a7e0-0000-7000-8000-000000000001"),
                ("From", "2026-07-03T14:32:00.123456Z"),
                ("HttpStatus", "502"),
            ])
        );
        assert_eq!(read_recorded(&written), Ok(filter));
        assert_eq!(read_recorded(&BTreeMap::new()), Ok(EventFilter::default()));
    }

    #[test]
    fn what_cannot_be_read_does_not_widen_the_filter() {
        for (name, value) in
            [("Status", "Lost"), ("Planet", "Mars"), ("From", "never"), ("IdempotencyKey", "order-7")]
        {
            let read = read_recorded::<EventFilter>(&terms(&[("To", "2026-07-03T14:32:00Z"), (name, value)]));
            assert_eq!(read, Err(UnreadableTerm { name: name.to_owned(), value: value.to_owned() }));
        }
    }

    #[test]
    fn the_idempotency_key_is_in_no_fact() {
        let id = "0190a7e0-0000-7000-8000-000000000001".parse().ok();
        assert_eq!(recorded(EventFilter { id, ..EventFilter::default() }), BTreeMap::new());
    }
}
