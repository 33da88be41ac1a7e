//! A fact of the audit trail as a sentence: who did what, and what it changed.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::audit::{Actor, Change, Entry};
use crate::text::times::Moment;
use crate::web::query::url;
use crate::words::spoken;

/// Characters of a value in the sentence; the whole one is below it.
const VALUE_CHARS: usize = 60;

/// A fact as the page shows it.
pub(super) struct EntryRow {
    pub(super) time: Moment,
    pub(super) actor: String,
    /// Trail of the actor.
    pub(super) actor_path: Option<String>,
    pub(super) action: String,
    /// What it changed, in one line.
    pub(super) summary: String,
    pub(super) changes: Vec<ChangeRow>,
    pub(super) details: Vec<(String, String)>,
    pub(super) fact_type: String,
    pub(super) subject: String,
    /// Trail of the subject.
    pub(super) subject_path: String,
    /// Page of the subject, if it has one.
    pub(super) page: Option<String>,
    pub(super) fact: String,
    pub(super) request_id: Option<String>,
    pub(super) origin: Option<String>,
}

pub(super) struct ChangeRow {
    pub(super) setting: String,
    pub(super) before: String,
    pub(super) after: String,
}

impl EntryRow {
    pub(super) fn of(entry: Entry, now: DateTime<Utc>) -> Self {
        let subject = format!("{}/{}", entry.subject.kind, entry.subject.id);
        let page = match entry.subject.kind.as_str() {
            "User" => Some("users"),
            "Destination" => Some("destinations"),
            "Sender" => Some("senders"),
            "WebhookEvent" => Some("events"),
            "BulkAction" => Some("bulk-actions"),
            "Erasure" => Some("erasures"),
            _ => None,
        };
        let summary: Vec<_> = entry.changes.iter().filter_map(ChangeRow::summary).collect();
        Self {
            time: Moment::of(entry.time, now),
            actor_path: entry.actor.as_ref().and_then(actor_path),
            actor: entry.actor.map_or_else(|| "Not recorded".to_owned(), actor),
            action: entry.action,
            summary: summary.join("; "),
            changes: entry.changes.iter().map(ChangeRow::of).collect(),
            details: entry.details.iter().map(|(name, value)| (spoken(name), plain(value))).collect(),
            fact_type: entry.fact_type,
            subject_path: url("/audit", &[("subject", Some(&subject))]),
            page: page.map(|page| format!("/{page}/{}", entry.subject.id)),
            subject,
            fact: entry.fact,
            request_id: entry.request_id,
            origin: entry.origin.map(|origin| match (origin.is_erased, origin.address, origin.user_agent) {
                (true, ..) => "erased as personal data of the user".to_owned(),
                (false, address, agent) => {
                    let parts = [address, agent].into_iter().flatten();
                    parts.collect::<Vec<_>>().join(", ")
                }
            }),
        }
    }
}

impl ChangeRow {
    fn of(change: &Change) -> Self {
        Self { setting: spoken(&change.setting), before: plain(&change.before), after: plain(&change.after) }
    }

    /// Returns the change in a few words; `None`: its values are too complex for that.
    fn summary(change: &Change) -> Option<String> {
        let is_complex = |value: &Value| value.is_object() || value.is_array();
        if is_complex(&change.before) || is_complex(&change.after) {
            return None;
        }
        let (setting, after) = (spoken(&change.setting), plain(&change.after));
        Some(match &change.before {
            Value::Null => format!("{setting}: {}", shortened(&after)),
            before => format!("{setting}: {} → {}", shortened(&plain(before)), shortened(&after)),
        })
    }
}

/// Returns who caused a fact.
fn actor(actor: Actor) -> String {
    let id = actor.id.unwrap_or_default();
    match (actor.kind.as_str(), actor.name) {
        ("user", Some(name)) => name,
        ("user", None) => format!("A deleted user ({id})"),
        ("api-key", Some(name)) => format!("API key {name}"),
        ("api-key", None) => format!("API key {id}"),
        ("portal-link", Some(name)) => format!("Portal link {name}"),
        ("portal-link", None) => format!("Portal link {id}"),
        ("role", _) => format!("The service ({id})"),
        ("operator", _) => "The operator".to_owned(),
        ("anonymous", _) => "A visitor".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

fn actor_path(actor: &Actor) -> Option<String> {
    let value = match &actor.id {
        Some(id) => format!("{}:{id}", actor.kind),
        None => actor.kind.clone(),
    };
    Some(url("/audit", &[("actor", Some(&value))]))
}

/// Returns a value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(entry: Value) -> EntryRow {
        let mut whole = json!({
            "time": "2026-07-03T14:32:00Z", "actor": null, "type": "RoleChanged", "action": "The role of a user was changed.",
            "subject": { "kind": "User", "id": "7" }, "fact": "User/7/2", "requestId": null, "origin": null,
            "changes": [], "details": {},
        });
        whole.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        EntryRow::of(serde_json::from_value(whole).unwrap(), DateTime::default())
    }

    #[test]
    fn an_entry_says_who_changed_what() {
        let row = row(json!({
            "actor": { "kind": "user", "id": "8", "name": "ada@example.com" },
            "changes": [{ "setting": "role", "before": "Viewer", "after": "Admin" },
                { "setting": "serverRateLimit", "before": null, "after": 5 },
                { "setting": "url", "before": "a", "after": null },
                { "setting": "retention", "before": null, "after": { "eventDays": 3 } }],
        }));
        assert_eq!((row.actor.as_str(), row.page.as_deref()), ("ada@example.com", Some("/users/7")));
        assert_eq!(row.summary, "Role: Viewer → Admin; Server rate limit: 5; Url: a → none");
        assert_eq!(row.actor_path.as_deref(), Some("/audit?actor=user%3A8"));
        assert_eq!(row.subject_path, "/audit?subject=User%2F7");
    }

    #[test]
    fn every_kind_of_actor_has_words() {
        for (kind, id, name, words) in [
            ("user", Some("8"), None, "A deleted user (8)"),
            ("api-key", Some("9"), Some("billing"), "API key billing"),
            ("portal-link", Some("9"), Some("Shop Ltd"), "Portal link Shop Ltd"),
            ("role", Some("worker"), None, "The service (worker)"),
            ("operator", None, None, "The operator"),
            ("anonymous", None, None, "A visitor"),
        ] {
            let row = row(json!({ "actor": { "kind": kind, "id": id, "name": name } }));
            assert_eq!(row.actor, words);
        }
        assert_eq!(row(json!({})).actor, "Not recorded");
    }
}
