//! Erasures of the payloads of many events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::events::Selection;
use super::problem::ApiError;

/// Parameters of the list of events that can select those of an erasure, each with its name in an erasure.
const TERMS: [(&str, &str); 4] =
    [("Status", "status"), ("DestinationUrlId", "destinationUrlId"), ("From", "from"), ("To", "to")];

/// An erasure, or what one would erase.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Erasure {
    /// `None` after a dry run.
    pub(crate) id: Option<Uuid>,
    scope: BTreeMap<String, Option<String>>,
    pub(crate) reason: String,
    pub(crate) requested_by: Uuid,
    pub(crate) requested_at: DateTime<Utc>,
    /// Events that it is for, those without a payload included.
    pub(crate) events: u64,
    pub(crate) erased: u64,
    /// Payloads that legal holds on their destinations keep.
    pub(crate) kept: u64,
    /// `None`: it is in progress.
    pub(crate) completed_at: Option<DateTime<Utc>>,
}

/// Events that an erasure is for, as the list of events selects them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasureScope<'a>(BTreeMap<&'static str, &'a str>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    /// `Tenant` or `Events`.
    scope: &'static str,
    #[serde(flatten)]
    terms: &'a BTreeMap<&'static str, &'a str>,
    reason: &'a str,
    dry_run: bool,
}

impl Erasure {
    /// Returns the terms that select its events, by their names in the API; none: all of the tenant.
    pub(crate) fn terms(&self) -> BTreeMap<String, String> {
        let given = |(name, value): (&String, &Option<String>)| Some((name.clone(), value.clone()?));
        self.scope.iter().filter_map(given).collect()
    }
}

impl<'a> ErasureScope<'a> {
    /// Returns the events that a selection is for; `None`: it has a term that cannot select those of an erasure.
    pub(crate) fn of(Selection(terms): &'a Selection) -> Option<Self> {
        let term = |(name, value): &'a (&'static str, String)| {
            let (_, member) = TERMS.iter().find(|(parameter, _)| parameter == name)?;
            Some((*member, value.as_str()))
        };
        terms.iter().map(term).collect::<Option<_>>().map(Self)
    }

    /// Returns whether all events of the tenant are selected.
    pub(crate) fn is_tenant(&self) -> bool {
        self.0.is_empty()
    }
}

impl Client {
    /// Returns what an erasure would erase, without requesting it.
    pub(crate) async fn try_erasure(&self, scope: &ErasureScope<'_>) -> Result<Erasure, ApiError> {
        // The reason of a dry run is not recorded.
        self.post_erasure(scope, "dry run", true).await
    }

    pub(crate) async fn request_erasure(
        &self,
        scope: &ErasureScope<'_>,
        reason: &str,
    ) -> Result<Erasure, ApiError> {
        self.post_erasure(scope, reason, false).await
    }

    async fn post_erasure(
        &self,
        scope: &ErasureScope<'_>,
        reason: &str,
        dry_run: bool,
    ) -> Result<Erasure, ApiError> {
        let ErasureScope(terms) = scope;
        let scope = if scope.is_tenant() { "Tenant" } else { "Events" };
        self.post("/erasures", &Request { scope, terms, reason, dry_run }).await
    }

    pub(crate) async fn erasure(&self, id: Uuid) -> Result<Erasure, ApiError> {
        self.get(&format!("/erasures/{id}")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(terms: &[(&'static str, &str)]) -> Selection {
        Selection(terms.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    #[test]
    fn a_selection_that_an_erasure_does_not_understand_selects_nothing() {
        let selected = selection(&[("Status", "Succeeded"), ("DestinationUrlId", "7"), ("To", "2026-03-14")]);
        let scope = ErasureScope::of(&selected).unwrap();
        let request = Request { scope: "Events", terms: &scope.0, reason: "a", dry_run: true };
        assert_eq!(
            serde_json::to_value(request).unwrap(),
            serde_json::json!({ "scope": "Events", "status": "Succeeded", "destinationUrlId": "7",
                "to": "2026-03-14", "reason": "a", "dryRun": true })
        );
        assert!(!scope.is_tenant());
        assert!(ErasureScope::of(&selection(&[])).unwrap().is_tenant());
        for name in ["HttpStatus", "Outcome", "SenderId", "IdempotencyKey", "PayloadContains"] {
            let selection = selection(&[("Status", "Succeeded"), (name, "x")]);
            assert_eq!(ErasureScope::of(&selection), None, "{name}");
        }
    }
}
