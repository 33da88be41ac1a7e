//! Schemas that several resources share: enums by their names, pages of lists, times, mappings, payloads.

use aggregates::attempt_outcome::Outcome;
use aggregates::bulk_action::EventAction;
use aggregates::destination::AuthType;
use aggregates::mapping::KEYS_MAX;
use aggregates::portal_link::PortalAccess;
use aggregates::role::{Role, UserStatus};
use aggregates::stored_enum::StoredEnum;
use projections::bulk_actions::BulkActionState;
use projections::destinations::DestinationStatus;
use projections::invites::InviteStatus;
use projections::webhook_events::EventStatus;
use serde::{Serialize, Serializer};
use serde_json::json;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::http::fields::{schema, string};

/// Value of an enum, shown by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<E>(E);

pub(crate) type RoleName = Named<Role>;
pub(crate) type UserStatusName = Named<UserStatus>;
pub(crate) type AuthTypeName = Named<AuthType>;
pub(crate) type InviteStatusName = Named<InviteStatus>;
pub(crate) type DestinationStatusName = Named<DestinationStatus>;
pub(crate) type EventStatusName = Named<EventStatus>;
pub(crate) type EventActionName = Named<EventAction>;
pub(crate) type BulkActionStateName = Named<BulkActionState>;
pub(crate) type PortalAccessName = Named<PortalAccess>;
pub(crate) type OutcomeName = Named<Outcome>;

impl<E: StoredEnum> From<E> for Named<E> {
    fn from(value: E) -> Self {
        Self(value)
    }
}

impl<E: StoredEnum> Serialize for Named<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<E: StoredEnum> PartialSchema for Named<E> {
    fn schema() -> RefOr<Schema> {
        string(None)
            .enum_values(Some(E::ALL.iter().map(|value| value.name())))
            .description(Some(E::DESCRIPTION))
            .into()
    }
}

impl<E: StoredEnum> ToSchema for Named<E> {
    fn name() -> std::borrow::Cow<'static, str> {
        E::TYPE_NAME.into()
    }
}

/// Page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// Number of matching items on all pages.
    #[schema(minimum = 0)]
    pub(crate) total: i64,
    /// Items of this page. A page beyond the last one has none.
    pub(crate) items: Vec<T>,
}

impl<T> Page<T> {
    pub(crate) fn of<R: Into<T>>(listed: projections::paging::Listed<R>) -> Self {
        Self { total: listed.total, items: listed.items.into_iter().map(Into::into).collect() }
    }
}

schema! {
    /// Time, or a date that means all of its day.
    DateOrTime = AnyOfBuilder::new()
        .item(string(None).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .item(string(None).format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))))
        .examples(["2026-07-03T14:32:00Z"]);
    /// Mapping of a sender.
    MappingGiven = ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(KEYS_MAX))
        .additional_properties(Some(Schema::from(AnyOfBuilder::new()
            .item(string(None).pattern(Some(EXPRESSION)))
            .item(ArrayBuilder::new().items(string(None).pattern(Some(EXPRESSION)))))))
        .description(Some("Keys of the delivered object, each with an expression or an array of expressions."))
        .examples([json!({ "eventId": "id", "userName": "user:name", "tags": ["ref", "head_commit:id"] })]);
    /// Payload of a webhook.
    PayloadGiven = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Any JSON object."))
        .examples([json!({ "id": 7, "user": { "name": "octo" }, "ref": "main", "head_commit": { "id": "abc" } })]);
}

/// One expression of a mapping; brackets hold an index and close.
const EXPRESSION: &str = r"^[^\[\]]*(\[ *[0-9]{1,9} *\](?=[:+\[]|$)[^\[\]]*)*$";
