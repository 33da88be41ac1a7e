//! What the trail shows of facts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aggregates::destination::Destination;
use aggregates::fact::{Fact, StoredFact};
use aggregates::ids::TenantId;
use aggregates::tenant::Tenant;
use aggregates::webhook_event::WebhookEvent;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::fact_origins::{self, FactOrigin};
use projections::{LogPosition, TenantScope};
use serde_json::{Map, Value};
use sqlx::FromRow;
use uuid::Uuid;

use super::catalogue::{About, FactType};
use super::search::{Found, TrailRow};

/// Maximum length of a shown text, in characters. Longer ones are cut.
const TEXT_CHARS_MAX: usize = 4_096;

/// A fact of the trail.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) position: LogPosition,
    /// By the clock of the database.
    pub(crate) recorded_at: DateTime<Utc>,
    /// As the fact has it, such as `user:<id>`.
    pub(crate) actor: Option<String>,
    /// Email address of the user, name of the API key, or label of the portal link; `None` if there is none, or no longer.
    pub(crate) actor_name: Option<String>,
    /// Name of the fact.
    pub(crate) name: String,
    /// `None`: a newer version of the program wrote it.
    pub(crate) fact_type: Option<&'static FactType>,
    pub(crate) aggregate: String,
    pub(crate) stream_id: String,
    /// Version of the stream with this fact, from 1.
    pub(crate) version: i64,
    pub(crate) subject_kind: String,
    pub(crate) subject_id: String,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    /// `None`: no client caused the fact through the management API.
    pub(crate) origin: Option<FactOrigin>,
    pub(crate) changes: Vec<Change>,
    pub(crate) details: Map<String, Value>,
}

/// Setting that a fact changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) setting: &'static str,
    /// Null: it had none.
    pub(crate) before: Value,
    /// Null: it was removed.
    pub(crate) after: Value,
}

/// The last fact before another one that had the same setting.
#[derive(FromRow)]
struct FormerRow {
    number: i64,
    aggregate_type: String,
    event_type: String,
    event_version: String,
    payload: String,
}

impl Found {
    /// Returns what the trail shows of the facts. `scope` is that of the search.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "db.events.describe", level = "debug", skip_all, err(level = "debug"))]
    pub(crate) async fn into_entries(self, scope: &mut TenantScope) -> Result<Vec<Entry>, sqlx::Error> {
        let names = actor_names(scope, &self.rows).await?;
        let origins =
            fact_origins::by_ids(scope, &self.rows.iter().filter_map(origin_id).collect::<Vec<_>>()).await?;
        let tenant = scope.tenant_id();
        let mut entries: Vec<_> = self.rows.into_iter().map(|row| Entry::of(row, tenant, &origins)).collect();
        for entry in &mut entries {
            entry.actor_name = entry.actor.as_ref().and_then(|actor| names.get(actor).cloned());
        }
        add_former_values(scope, &mut entries).await?;
        Ok(entries)
    }
}

impl Entry {
    fn of(row: TrailRow, tenant: TenantId, origins: &HashMap<Uuid, FactOrigin>) -> Self {
        let position = row.log_position();
        let read = fields_of(&row.aggregate_type, &row.event_type, &row.event_version, &row.payload);
        let (mut changes, mut details) = (vec![], Map::new());
        if let Some((fact_type, fields)) = &read {
            let change =
                |path| Change { setting: last_part(path), before: Value::Null, after: shown(fields, path) };
            changes = fact_type.settings.iter().map(|path| change(path)).collect();
            let detail = |path| (last_part(path).to_owned(), shown(fields, path));
            details = fact_type.details.iter().map(|path| detail(path)).collect();
        }
        let own = |kind: &str| (kind.to_owned(), row.aggregate_id.clone());
        let (kind, id) = match read.as_ref().map(|(fact_type, fields)| (fact_type.about, fields)) {
            None | Some((About::Stream, _)) => own(&row.aggregate_type),
            Some((About::Event, _)) => own(WebhookEvent::TYPE),
            Some((About::Tenant, _)) => (Tenant::TYPE.to_owned(), tenant.to_string()),
            Some((About::Held, fields)) if fields["subject"] == "tenant" => own(Tenant::TYPE),
            Some((About::Held, _)) => own(Destination::TYPE),
        };
        Self {
            origin: origin_id(&row).and_then(|id| origins.get(&id).cloned()),
            position,
            recorded_at: row.recorded_at,
            actor: row.actor,
            actor_name: None,
            name: row.event_type,
            fact_type: read.map(|(fact_type, _)| fact_type),
            aggregate: row.aggregate_type,
            stream_id: row.aggregate_id,
            version: row.sequence,
            subject_kind: kind,
            subject_id: id,
            request_id: row.request_id,
            trace_id: row.trace_id,
            changes,
            details,
        }
    }

    /// Returns what the fact says, in words.
    pub(crate) fn words(&self) -> &'static str {
        self.fact_type.map_or("A newer version of the service recorded this.", |fact| fact.words)
    }
}

/// Returns the type of a fact, and its fields in the current form; `None`: this program does not know the form.
fn fields_of(
    aggregate_type: &str,
    event_type: &str,
    event_version: &str,
    payload: &str,
) -> Option<(&'static FactType, Value)> {
    let fact_type = FactType::find(event_type)?;
    let fact = Fact::read(StoredFact { aggregate_type, event_type, event_version, payload }).ok()?;
    // A fact is written as an object with its name as the only key.
    let fields = fact.to_json().ok()?.get_mut(event_type)?.take();
    Some((fact_type, fields))
}

fn origin_id(row: &TrailRow) -> Option<Uuid> {
    row.origin_id.as_deref()?.parse().ok()
}

/// Returns the value at a path, with long texts cut; null if there is none.
fn shown(fields: &Value, path: &str) -> Value {
    match fields.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => match text.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => text.as_str().into(),
        },
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn last_part(path: &'static str) -> &'static str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Looks up what the settings were before, in the streams of the facts.
async fn add_former_values(scope: &mut TenantScope, entries: &mut [Entry]) -> Result<(), sqlx::Error> {
    let (mut numbers, mut aggregates, mut ids, mut sequences, mut names) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (number, entry) in (0_i64..).zip(&*entries) {
        let Some(fact_type) = entry.fact_type.filter(|_| entry.version > 1) else { continue };
        let Some(path) = fact_type.settings.first() else { continue };
        numbers.push(number);
        aggregates.push(entry.aggregate.clone());
        ids.push(entry.stream_id.clone());
        sequences.push(entry.version);
        names.push(fact_type.that_set(path).join(","));
    }
    if numbers.is_empty() {
        return Ok(());
    }
    let former: Vec<FormerRow> = sqlx::query_as(
        "SELECT changed.number, former.*
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[])
             AS changed (number, aggregate_type, aggregate_id, sequence, names)
         CROSS JOIN LATERAL (
             SELECT aggregate_type, event_type, event_version, payload::text AS payload
             FROM events AS fact
             WHERE fact.aggregate_type = changed.aggregate_type
               AND fact.aggregate_id = changed.aggregate_id
               AND fact.sequence < changed.sequence
               AND fact.event_type = ANY(string_to_array(changed.names, ','))
             ORDER BY fact.sequence DESC
             LIMIT 1
         ) AS former",
    )
    .bind(numbers)
    .bind(aggregates)
    .bind(ids)
    .bind(sequences)
    .bind(names)
    .fetch_all(scope.connection())
    .await?;
    for row in former {
        let entry = usize::try_from(row.number).ok().and_then(|number| entries.get_mut(number));
        let Some(entry) = entry else { continue };
        let read = fields_of(&row.aggregate_type, &row.event_type, &row.event_version, &row.payload);
        let (Some((_, fields)), Some(fact_type)) = (read, entry.fact_type) else { continue };
        for (change, path) in entry.changes.iter_mut().zip(fact_type.settings) {
            change.before = shown(&fields, path);
        }
    }
    Ok(())
}

/// Returns the names of users, API keys and portal links by actor.
async fn actor_names(
    scope: &mut TenantScope,
    rows: &[TrailRow],
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let of_kind = |kind: &str| {
        let ids = rows.iter().filter_map(|row| row.actor.as_deref()?.strip_prefix(kind)?.parse().ok());
        ids.collect::<BTreeSet<Uuid>>().into_iter().collect::<Vec<_>>()
    };
    let (users, keys, links) = (of_kind("user:"), of_kind("api-key:"), of_kind("portal-link:"));
    let names: Vec<(String, String)> = sqlx::query_as(
        "SELECT 'user:' || users.id, user_emails.email
         FROM users
         JOIN user_emails ON user_emails.user_id = users.id AND user_emails.version = users.email_version
         WHERE users.tenant_id = $1 AND users.id = ANY($2)
         UNION ALL
         SELECT 'api-key:' || id, name FROM api_keys
         WHERE tenant_id = $1 AND id = ANY($3)
         UNION ALL
         SELECT 'portal-link:' || id, label FROM portal_links
         WHERE tenant_id = $1 AND id = ANY($4)",
    )
    .bind(scope.tenant_id().0)
    .bind(users)
    .bind(keys)
    .bind(links)
    .fetch_all(scope.connection())
    .await?;
    Ok(names.into_iter().collect())
}
