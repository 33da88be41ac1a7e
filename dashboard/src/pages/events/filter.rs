//! What the URL of the list selects.

use crate::api::events::Selection;
use crate::pages::Labels;
use crate::web::query::{Parameters, url};

/// A field of the filter, declared once: its name in the URL of the page, and that of the API's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    name: &'static str,
    parameter: &'static str,
}

const fn field(name: &'static str, parameter: &'static str) -> Field {
    Field { name, parameter }
}

const FIELDS: [Field; 11] = [
    field("status", "Status"),
    field("destination", "DestinationUrlId"),
    field("sender", "SenderId"),
    field("outcome", "Outcome"),
    field("http", "HttpStatus"),
    field("from", "From"),
    field("to", "To"),
    field("key", "IdempotencyKey"),
    field("text", "PayloadContains"),
    field("path", "PayloadPath"),
    field("value", "PayloadValue"),
];
/// The API's parameters as the page labels them.
pub(super) const LABELS: &Labels = &[
    ("Status", "Status"),
    ("DestinationUrlId", "Destination"),
    ("SenderId", "Sender's id"),
    ("Outcome", "Last attempt"),
    ("HttpStatus", "HTTP status"),
    ("From", "From (UTC)"),
    ("To", "To (UTC)"),
    ("IdempotencyKey", "Idempotency key"),
    ("PayloadContains", "Search"),
    ("PayloadPath", "Path in the payload"),
    ("PayloadValue", "Value there"),
];
/// Fields that search payloads, which takes long.
const SEARCHED: [&str; 3] = ["text", "path", "value"];
/// Fields that the page shows only where they are used.
const RARE: [&str; 6] = ["sender", "outcome", "http", "key", "path", "value"];

/// Values of the fields that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pages) struct Filter {
    /// What precedes `/events` in the path of the list.
    base: &'static str,
    /// In the order of [`FIELDS`].
    values: Vec<(Field, String)>,
}

impl Filter {
    /// Reads the parameters of the page of users.
    pub(in crate::pages) fn of(parameters: &Parameters) -> Self {
        Self::below("", parameters)
    }

    /// Reads those of the page `<base>/events`.
    pub(super) fn below(base: &'static str, parameters: &Parameters) -> Self {
        let value = |field: Field| Some((field, parameters.get(field.name)?.to_owned()));
        Self { base, values: FIELDS.into_iter().filter_map(value).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns whether payloads are searched.
    pub(super) fn is_search(&self) -> bool {
        self.values.iter().any(|(field, _)| SEARCHED.contains(&field.name))
    }

    /// Returns whether a field is used that the page does not show at first.
    pub(super) fn has_rare_fields(&self) -> bool {
        self.values.iter().any(|(field, _)| RARE.contains(&field.name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(field, _)| field.name == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of an input.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// Returns the filter with another value of one field; `None`: without it.
    pub(super) fn with(&self, name: &str, value: Option<&str>) -> Self {
        let changed = |field: Field| {
            let value = if field.name == name { value } else { self.get(field.name) };
            Some((field, value?.to_owned()))
        };
        Self { base: self.base, values: FIELDS.into_iter().filter_map(changed).collect() }
    }

    /// Returns the parameters of the API.
    pub(in crate::pages) fn selection(&self) -> Selection {
        Selection(self.values.iter().map(|(field, value)| (field.parameter, value.clone())).collect())
    }

    /// Returns the URL of the first page of the list.
    pub(in crate::pages) fn url(&self) -> String {
        self.url_with(&[])
    }

    /// Returns the URL of the list with further parameters.
    pub(super) fn url_with(&self, others: &[(&str, Option<&str>)]) -> String {
        let mut parameters: Vec<_> =
            self.values.iter().map(|(field, value)| (field.name, Some(value.as_str()))).collect();
        parameters.extend(others);
        url(&format!("{}/events", self.base), &parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_what_its_url_says() {
        let parameters = Parameters::of("/events?text=a%26b&status=Pending&from=&unknown=1&after=x");
        let filter = Filter::of(&parameters);
        assert_eq!(filter.url(), "/events?status=Pending&text=a%26b");
        assert_eq!(filter.with("status", None).url(), "/events?text=a%26b");
        assert_eq!(filter.with("http", Some("503")).url(), "/events?status=Pending&http=503&text=a%26b");
        let parameters = [("Status", "Pending".to_owned()), ("PayloadContains", "a&b".to_owned())];
        assert_eq!(filter.selection().0, parameters);
        assert!(filter.is_search() && !filter.has_rare_fields());
        assert!(!filter.with("text", None).is_search());
        assert!(filter.with("http", Some("503")).has_rare_fields());
    }
}
