//! The newest events of the list by what they can be filtered by, as links.

use std::collections::HashMap;

use uuid::Uuid;

use super::filter::Filter;
use crate::api::destinations::Destination;
use crate::api::events::{Facet, Facets};
use crate::api::senders::Sender;
use crate::session::viewer::Viewer;
use crate::text::times::grouped;
use crate::words::{self, StatusWords};

/// Values of a field that are shown.
const VALUES: usize = 6;

/// A field with its most frequent values.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) values: Vec<Value>,
}

/// A value, which a link selects or, where it is selected, gives up.
pub(super) struct Value {
    pub(super) label: String,
    pub(super) count: String,
    pub(super) url: String,
    pub(super) is_selected: bool,
}

/// Returns the labels of the senders that are shown and have one. Portal links show ids only.
pub(super) async fn labels_of_senders(viewer: &Viewer, facets: &Facets) -> HashMap<Uuid, String> {
    let mut labels = HashMap::new();
    if viewer.portal_link().is_some() {
        return labels;
    }
    for facet in facets.senders.iter().take(VALUES) {
        // A sender that was deleted is shown by its id.
        if let Ok(Sender { label: Some(label), .. }) = viewer.api.sender(facet.value).await {
            labels.insert(facet.value, label);
        }
    }
    labels
}

/// Returns the fields of which there is something to choose. Of attempts only failures are offered.
pub(super) fn groups(
    mut facets: Facets,
    filter: &Filter,
    destinations: &[Destination],
    senders: &HashMap<Uuid, String>,
) -> Vec<Group> {
    let url_of = |id: &Uuid| {
        let destination = destinations.iter().find(|destination| destination.id == *id);
        destination.map_or_else(|| id.to_string(), |destination| without_scheme(&destination.url).to_owned())
    };
    let outcome = |code: &String| words::outcome(code).map_or(code.clone(), |words| words.label.to_owned());
    let sender = |id: &Uuid| senders.get(id).cloned().unwrap_or_else(|| id.to_string());
    facets.outcomes.retain(|facet| words::outcome(&facet.value).is_none_or(|words| !words.is_success));
    facets.http_statuses.retain(|facet| !(200..300).contains(&facet.value));
    let groups = [
        group("Status", "status", facets.statuses, filter, |code| {
            StatusWords::of_event(code).label.to_owned()
        }),
        group("Last failure", "outcome", facets.outcomes, filter, outcome),
        group("HTTP status", "http", facets.http_statuses, filter, u16::to_string),
        group("Destination", "destination", facets.destinations, filter, url_of),
        group("Sender", "sender", facets.senders, filter, sender),
    ];
    // Every event has a status and a destination: one value of them is no choice.
    let is_choice = |group: &Group| match group.title {
        "Status" | "Destination" => {
            group.values.len() > 1 || group.values.iter().any(|value| value.is_selected)
        }
        _ => !group.values.is_empty(),
    };
    groups.into_iter().filter(is_choice).collect()
}

fn group<T: ToString>(
    title: &'static str,
    field: &'static str,
    facets: Vec<Facet<T>>,
    filter: &Filter,
    label: impl Fn(&T) -> String,
) -> Group {
    let value = |facet: Facet<T>| {
        let text = facet.value.to_string();
        let is_selected = filter.has(field, &text);
        Value {
            label: label(&facet.value),
            count: grouped(facet.count),
            url: filter.with(field, (!is_selected).then_some(&text)).url(),
            is_selected,
        }
    };
    Group { title, values: facets.into_iter().take(VALUES).map(value).collect() }
}

/// Returns a URL without `https://`, which says little in a narrow column.
pub(super) fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}
