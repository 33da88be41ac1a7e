//! Query parameters of the audit trail.

use std::borrow::Cow;

use aggregates::fact::Fact;
use chrono::{DateTime, Utc};
use projections::paging::Direction;
use projections::{LogPosition, TransactionId};
use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::http::cursor::{Cursors, List};
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::api::openapi::schemas::DateOrTime;
use crate::audit_trail::catalogue::{FACT_TYPES, FactType};
use crate::audit_trail::{Selection, StreamName, TrailFilter};

/// Actors without an id.
const ACTORS_WITHOUT_ID: [&str; 2] = ["operator", "anonymous"];
/// Longest name of a role of the program, in characters.
const ROLE_CHARS_MAX: usize = 32;

/// Where a search begins, and what it looks for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) filter: TrailFilter,
    pub(super) after: Option<LogPosition>,
    terms: String,
}

/// Parameters that a search is read from, for the description of a handler.
pub(crate) struct SearchParameters;

impl Search {
    /// Reads the filter and the cursor. Other parameters must have been read from `query` before.
    ///
    /// # Errors
    /// The problem that names all invalid parameters.
    pub(super) fn read(
        mut query: Query,
        direction: Direction,
        caller: &Caller,
        cursors: &Cursors,
    ) -> Result<Self, Problem> {
        let filter = filter(&mut query);
        let terms = format!("{} {direction:?}", filter.terms());
        let after = query.after(|cursor| {
            // In CSV a cursor that begins with a minus has one.
            let cursor = cursor.strip_prefix('\'').unwrap_or(cursor);
            cursors.read(list(caller, &terms), cursor)
        });
        let after = after.map(|(transaction_id, position)| LogPosition {
            transaction_id: TransactionId(transaction_id),
            position,
        });
        query.complete()?;
        check(&filter)?;
        Ok(Self { filter, after, terms })
    }

    /// Returns the filter as the parameters that it was read from.
    pub(super) fn described(&self) -> String {
        let TrailFilter { selection, actor, fact_type, from, to } = &self.filter;
        let selection = match selection {
            Selection::Administration => None,
            Selection::All => Some("Facts=all".to_owned()),
            Selection::Stream(StreamName { aggregate, id }) => Some(format!("Subject={aggregate}/{id}")),
        };
        let parameters = [
            selection,
            actor.as_ref().map(|actor| format!("Actor={actor}")),
            fact_type.map(|fact| format!("Type={}", fact.name)),
            from.map(|time| format!("From={}", Timestamp(time))),
            to.map(|time| format!("To={}", Timestamp(time))),
        ];
        parameters.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    /// Issues the cursor of a position.
    ///
    /// # Errors
    /// When it cannot be serialized.
    pub(super) fn cursor(
        &self,
        caller: &Caller,
        cursors: &Cursors,
        LogPosition { transaction_id, position }: LogPosition,
    ) -> Result<String, serde_json::Error> {
        cursors.issue(list(caller, &self.terms), &(transaction_id.0, position))
    }
}

fn list<'a>(caller: &Caller, terms: &'a str) -> List<'a> {
    List { name: "audit", tenant_id: caller.tenant_id, terms }
}

fn filter(query: &mut Query) -> TrailFilter {
    let given_facts = query.optional("Facts", facts);
    let subject = query.optional("Subject", |text| match given_facts {
        Some(_) => Err("must not be given together with Facts".into()),
        None => subject(text),
    });
    TrailFilter {
        selection: subject.map(Selection::Stream).or(given_facts).unwrap_or_default(),
        actor: query.optional("Actor", actor),
        fact_type: query.optional("Type", fact_type),
        from: query.optional("From", query::moment(Bound::From)),
        to: query.optional("To", query::moment(Bound::To)).map(end_of_millisecond),
    }
}

/// Returns the last microsecond of a time: facts are shown with milliseconds, and the time of a fact includes the fact.
fn end_of_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    let micros = time.timestamp_micros();
    DateTime::from_timestamp_micros(micros - micros.rem_euclid(1_000) + 999).unwrap_or(time)
}

/// Checks parameters against each other.
fn check(filter: &TrailFilter) -> Result<(), Problem> {
    let mut errors = FieldErrors::default();
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        errors.add("To", "must not be before From");
    }
    if filter.selection == Selection::Administration
        && let Some(fact_type) = filter.fact_type
        && fact_type.of_delivery
    {
        let name = fact_type.name;
        errors.add("Type", format!("{name} is a fact of single deliveries: it needs Facts=all or a Subject"));
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

fn facts(text: &str) -> Result<Selection, Cow<'static, str>> {
    match text {
        _ if text.eq_ignore_ascii_case("administration") => Ok(Selection::Administration),
        _ if text.eq_ignore_ascii_case("all") => Ok(Selection::All),
        _ => Err("must be administration or all".into()),
    }
}

fn fact_type(text: &str) -> Result<&'static FactType, Cow<'static, str>> {
    FactType::find(text).ok_or_else(|| "must be the type of a fact, such as RoleChanged".into())
}

fn subject(text: &str) -> Result<StreamName, Cow<'static, str>> {
    let read = || {
        let (kind, id) = text.split_once('/')?;
        let aggregate = Fact::AGGREGATES.into_iter().find(|name| name.eq_ignore_ascii_case(kind))?;
        Some(StreamName { aggregate, id: query::uuid(id).ok()? })
    };
    read().ok_or_else(|| {
        format!(
            "must be a kind and an id, such as User/{}; kinds are {}",
            Uuid::nil(),
            Fact::AGGREGATES.join(", ")
        )
        .into()
    })
}

/// Returns an actor as facts have it.
fn actor(text: &str) -> Result<String, Cow<'static, str>> {
    let is_role = |name: &str| {
        (1..=ROLE_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    match text.split_once(':') {
        Some((kind @ ("user" | "api-key" | "portal-link"), id)) => query::uuid(id)
            .map(|id| format!("{kind}:{id}"))
            .map_err(|_| format!("must name an id after {kind}:").into()),
        Some(("role", name)) if is_role(name) => Ok(text.to_owned()),
        None if ACTORS_WITHOUT_ID.contains(&text) => Ok(text.to_owned()),
        _ => {
            Err("must be user:<id>, api-key:<id>, portal-link:<id>, role:<name>, operator or anonymous"
                .into())
        }
    }
}

impl IntoParams for SearchParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let time = || RefOr::from(Ref::from_schema_name(DateOrTime::name()));
        let types: Vec<_> = FACT_TYPES.iter().map(|fact| fact.name).collect();
        let uuid = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";
        let kinds = Fact::AGGREGATES.join("|");
        vec![
            parameter(
                "Facts",
                "`administration`, the default, leaves out the facts of the delivery of single webhooks; `all` does not. \
                 A search of all facts looks at a bounded part of the log at a time, so a page may have few items or none \
                 and still a `next`.",
                text_schema(json!({ "pattern": "^(administration|all)$" })),
            ),
            parameter(
                "Subject",
                "Only facts about this subject, those of its deliveries included: its kind and its id. Not together with `Facts`.",
                text_schema(json!({ "pattern": format!("^({kinds})/{uuid}$") })),
            ),
            parameter(
                "Actor",
                "Only facts of this actor: `user:<id>`, `api-key:<id>`, `portal-link:<id>`, `role:<name>`, `operator` or `anonymous`.",
                text_schema(
                    json!({ "pattern": format!("^((user|api-key|portal-link):{uuid}|role:[a-z-]{{1,32}}|operator|anonymous)$") }),
                ),
            ),
            parameter("Type", "Only facts of this type.", text_schema(json!({ "enum": types }))),
            parameter("From", "Only facts recorded at or after this time.", time()),
            parameter("To", "Only facts recorded at or before this time; a date means its end.", time()),
            parameter(
                "After",
                "Position behind which to go on: `next` of a page or `cursor` of a fact, with the same filters and order.",
                text_schema(json!({ "minLength": 44, "maxLength": 8192, "pattern": "^'?[A-Za-z0-9_-]+$" })),
            ),
        ]
    }
}

fn parameter(name: &str, description: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// Returns the schema of a text with these rules.
fn text_schema(mut rules: Value) -> RefOr<Schema> {
    rules["type"] = "string".into();
    serde_json::from_value(rules).expect("a schema")
}
