//! Fields that select events.

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};

use super::text::any_text;
use super::{field, in_any_case, string};
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

fn moment(text: &str, bound: Bound) -> Result<DateTime<Utc>, String> {
    time::parse(text, bound).ok_or_else(|| "must be a date or an ISO 8601 time".to_owned())
}
