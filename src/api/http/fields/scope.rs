//! Fields that select events.

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use projections::listing::{Filter, FilterField};
use projections::webhook_events;
use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::text::any_text;
use super::{field, in_any_case, string};
use crate::api::http::filter;
use crate::api::http::path;
use crate::api::http::time::{self, Bound};
use crate::api::openapi::schemas::DateOrTime;

field! {
    /// Whether an erasure is for the whole tenant.
    ErasureScopeGiven: bool {
        schema: string(None)
            .pattern(Some(in_any_case(["Tenant", "Events"].map(str::to_owned))))
            .examples(["Events"]),
        parse: |value| match any_text(value)?.to_ascii_lowercase().as_str() {
            "tenant" => Ok(true),
            "events" => Ok(false),
            _ => Err("must be Tenant or Events".to_owned()),
        },
    }
    /// Id of a destination.
    DestinationIdText: DestinationId {
        schema: string(None).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
        parse: |value| path::uuid(any_text(value)?).map(DestinationId).ok_or_else(|| "must be a UUID".to_owned()),
    }
    /// Filter of the list of events.
    EventFilterGiven: webhook_events::Filter {
        schema: filter_schema::<webhook_events::Filter>(),
        parse: |value| read_filter(value),
    }
    /// Time at which a range begins.
    FromTime: DateTime<Utc> {
        schema: DateOrTime::schema(),
        parse: |value| moment(any_text(value)?, Bound::From),
    }
    /// Time at which a range ends.
    ToTime: DateTime<Utc> {
        schema: DateOrTime::schema(),
        parse: |value| moment(any_text(value)?, Bound::To),
    }
}

/// Returns the fields that a filter in a body may have: those that may be in facts.
fn members<F: Filter>() -> impl Iterator<Item = &'static FilterField> {
    F::FIELDS.iter().filter(|field| field.kind.is_recordable())
}

/// Returns the name in a body of the field of a filter with this name in a query.
pub(crate) fn member(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
}

fn filter_schema<F: Filter>() -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    members::<F>()
        .fold(object, |object, field| object.property(member(field.name), filter::schema(field.kind)))
        .additional_properties(Some(AdditionalProperties::<utoipa::openapi::Schema>::FreeForm(false)))
        .description(Some(
            "The query parameters of `GET /api/v1/events`, without the idempotency key and what payloads have. Without any, all events match.",
        ))
}

fn read_filter<F: Filter>(value: &Value) -> Result<F, String> {
    let names = || members::<F>().map(|field| member(field.name)).collect::<Vec<_>>().join(", ");
    let Value::Object(given) = value else {
        return Err(format!("must be an object with any of {}", names()));
    };
    let mut terms = vec![];
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        // A term that is not understood would widen the selection.
        let field = members::<F>().find(|field| field.name.eq_ignore_ascii_case(name));
        let field = field.ok_or_else(|| format!("must have no members but {}", names()))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(format!("must have a text as `{}`", member(field.name))),
        };
        let term = filter::value(field.kind, &text);
        let term = term.map_err(|wrong| format!("has a wrong `{}`, which {wrong}", member(field.name)))?;
        if terms.iter().any(|(known, _)| *known == field.name) {
            return Err(format!("must have `{}` only once", member(field.name)));
        }
        terms.push((field.name, term));
    }
    Ok(F::read(|field| terms.iter().find(|(name, _)| *name == field.name)?.1))
}

fn moment(text: &str, bound: Bound) -> Result<DateTime<Utc>, String> {
    time::parse(text, bound).ok_or_else(|| "must be a date or an ISO 8601 time".to_owned())
}
