//! Filters of lists in the API: their query parameters, read and described by the declaration in
//! `projections::listing`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::marker::PhantomData;

use aggregates::text::IDEMPOTENCY_KEY_CHARS_MAX;
use projections::listing::{Filter, FilterField, FilterKind, FilterValue};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, ToSchema};

use crate::api::http::fields::number::decimal;
use crate::api::http::fields::{choice, text};
use crate::api::http::query::{self, Query};
use crate::api::http::time::Bound;
use crate::api::openapi::schemas::DateOrTime;

/// The query parameters of a list's filter, for `params(...)` of a handler's description.
pub(crate) struct FilterParameters<F>(PhantomData<F>);

impl<F: Filter> IntoParams for FilterParameters<F> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        F::FIELDS.iter().map(parameter).collect()
    }
}

impl Query {
    /// Reads the filter of a list. An idempotency key is only checked; the handler sets the value.
    pub(crate) fn filter<F: Filter>(&mut self) -> F {
        F::read(|field| self.optional(field.name, |text| value(field.kind, text)).flatten())
    }
}

/// Returns a filter in a form that is equal for equal filters, as a cursor is bound to it.
pub(crate) fn cursor_terms(filter: impl Filter) -> String {
    let mut terms = String::new();
    for (field, value) in filter.terms() {
        let _infallible = write!(terms, "{}={value} ", field.name);
    }
    terms
}

pub(crate) fn value(kind: FilterKind, text: &str) -> Result<Option<FilterValue>, Cow<'static, str>> {
    Ok(Some(match kind {
        FilterKind::Flag => FilterValue::Flag(query::boolean(text)?),
        FilterKind::OneOf(variants) => {
            let variants = variants();
            FilterValue::Number(variants[choice::find(&variants, text, decimal(text))?].1)
        }
        FilterKind::Id => FilterValue::Id(query::uuid(text)?),
        FilterKind::HttpStatus => FilterValue::Number(query::http_status(text)?),
        FilterKind::IdempotencyKey => {
            text::idempotency_key(text)?;
            return Ok(None);
        }
        FilterKind::TimeFrom => FilterValue::Time(query::moment(Bound::From)(text)?),
        FilterKind::TimeTo => FilterValue::Time(query::moment(Bound::To)(text)?),
    }))
}

fn parameter(field: &FilterField) -> Parameter {
    ParameterBuilder::new()
        .name(field.name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(field.description))
        .schema(Some(schema(field.kind)))
        .build()
}

pub(crate) fn schema(kind: FilterKind) -> RefOr<Schema> {
    let string = || ObjectBuilder::new().schema_type(Type::String);
    match kind {
        FilterKind::Flag => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        FilterKind::OneOf(variants) => choice::schema(&variants()).into(),
        FilterKind::Id => string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).into(),
        FilterKind::HttpStatus => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(*query::HTTP_STATUSES.start()))
            .maximum(Some(*query::HTTP_STATUSES.end()))
            .into(),
        FilterKind::IdempotencyKey => string()
            .min_length(Some(1))
            .max_length(Some(IDEMPOTENCY_KEY_CHARS_MAX))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]+$"))
            .into(),
        FilterKind::TimeFrom | FilterKind::TimeTo => Ref::from_schema_name(DateOrTime::name()).into(),
    }
}

#[cfg(test)]
mod tests {
    use projections::webhook_events::{self, EventStatus};

    use super::*;

    fn read(text: &str) -> Option<webhook_events::Filter> {
        let mut query = Query::of(text);
        let filter = query.filter();
        query.complete().is_ok().then_some(filter)
    }

    #[test]
    fn each_field_is_read_from_its_parameter() {
        let id = "0190a7e0-0000-7000-8000-000000000001";
        let filter =
            read(&format!("status=waitingretry&DestinationUrlId={id}&From=2026-07-03&To=2026-07-03"))
                .unwrap();
        assert_eq!(filter.status, Some(EventStatus::WaitingRetry));
        assert_eq!(filter.destination_id, Some(id.parse().unwrap()));
        assert_eq!(filter.from, Some("2026-07-03T00:00:00Z".parse().unwrap()));
        assert_eq!(filter.to, Some("2026-07-03T23:59:59.999999Z".parse().unwrap()));
        assert_eq!(read("Status=4"), read("Status=WaitingRetry"));
        assert_eq!(read(""), Some(webhook_events::Filter::default()));
        assert_eq!(read("IdempotencyKey=order-7").unwrap().id, None, "the handler resolves it");
        for refused in [
            "Status=7",
            "Status=",
            "DestinationUrlId=x",
            "From=never",
            "Status=0&status=0",
            "IdempotencyKey=",
            "IdempotencyKey=a%00",
            "HttpStatus=1000",
            "Outcome=13",
        ] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }

    #[test]
    fn terms_are_equal_for_equal_filters_only() {
        let terms = |text| cursor_terms(read(text).unwrap());
        assert_eq!(terms("Status=4&From=2026-07-03"), terms("From=2026-07-03T00:00:00Z&status=waitingRetry"));
        let all = ["", "Status=4", "Status=5", "From=2026-07-03", "To=2026-07-03"].map(terms);
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{one}");
        }
    }

    #[test]
    fn parameters_are_described_by_the_declaration() {
        let parameters = FilterParameters::<webhook_events::Filter>::into_params(|| None);
        let status = serde_json::to_value(&parameters[0]).unwrap();
        assert_eq!(status["name"], "Status");
        assert_eq!(status["description"], "Only events of this status.");
        assert_eq!(status["schema"]["anyOf"][1]["enum"], serde_json::json!([0, 1, 2, 3, 4, 5, 6]));
        let pattern = status["schema"]["anyOf"][0]["pattern"].as_str().unwrap();
        assert!(pattern.starts_with("^([Pp][Ee][Nn][Dd][Ii][Nn][Gg]|[Pp][Rr]"), "{pattern}");
        assert!(pattern.ends_with("|0|1|2|3|4|5|6)$"), "{pattern}");
        let destination = serde_json::to_value(&parameters[1]).unwrap();
        assert_eq!(destination["schema"]["format"], "uuid");
        let schema = |name: &str| {
            let parameter = parameters.iter().find(|parameter| parameter.name == name).unwrap();
            serde_json::to_value(parameter).unwrap()["schema"].clone()
        };
        assert_eq!(schema("IdempotencyKey")["maxLength"], 255);
        assert_eq!(schema("HttpStatus")["maximum"], 999);
        assert!(parameters.iter().all(|parameter| parameter.description.is_some()));
    }
}
