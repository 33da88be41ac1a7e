//! How values look in the API: enums by their names, and what the description says of fields that are
//! read by hand.
//!
//! The description is for people and for programs that try the API with whatever it allows and forbids,
//! so it says exactly what is taken: a number also as a string, a role by name or by number.

use aggregates::destination::AuthType;
use aggregates::destination_url::URL_LENGTH_MAX;
use aggregates::mapping::KEYS_MAX;
use aggregates::role::{Role, UserStatus};
use aggregates::tenant::RETENTION_DAYS_MAX;
use aggregates::{email, text};
use projections::{destinations, webhook_events};
use serde::Serialize;
use serde_json::json;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::http::validation;
use crate::api::v1::tenants::webhook_secret::OVERLAP_SECONDS_MAX;
use crate::secrets::passwords::PASSWORD_BYTES_MAX;
use crate::secrets::token::TOKEN_CHARS_MAX;

/// Names of an enum in the API, and the values of the domain that they stand for.
macro_rules! names {
    ($(#[$attribute:meta])* $name:ident of $domain:ty { $($variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
        $(#[$attribute])*
        pub(crate) enum $name { $($variant),+ }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),+ }
            }
        }
    };
}

names! {
    /// What a user may do.
    #[schema(as = Role)]
    RoleName of Role { Developer, Admin, Owner, Viewer }
}
names! {
    /// Whether a user may log in.
    #[schema(as = UserStatus)]
    UserStatusName of UserStatus { Active, Inactive }
}
names! {
    /// How requests prove themselves to a destination.
    #[schema(as = AuthType)]
    AuthTypeName of AuthType { ApiKey, BearerToken, JwtBearer, BasicAuth }
}
names! {
    /// Whether a destination receives: not while somebody has it Inactive, nor while its circuit breaker
    /// has it Suspended.
    #[schema(as = DestinationStatus)]
    DestinationStatusName of destinations::Status { Active, Inactive, Suspended }
}
names! {
    /// Where the delivery of an event stands.
    #[schema(as = EventStatus)]
    EventStatusName of webhook_events::Status {
        Pending, Processing, Succeeded, Failed, WaitingRetry, CriticalFailure, Cancelled
    }
}

/// Whether an invite was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = InviteStatus)]
pub(crate) enum InviteStatusName {
    Pending,
    Used,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// How many items match, on all pages.
    #[schema(minimum = 0)]
    pub(crate) total: i64,
    /// The items of this page; none beyond the last one.
    pub(crate) items: Vec<T>,
}

impl<T> Page<T> {
    /// The page of a list, each item as the API shows it.
    pub(crate) fn of<R: Into<T>>(listed: projections::paging::Listed<R>) -> Self {
        Self { total: listed.total, items: listed.items.into_iter().map(Into::into).collect() }
    }
}

/// Descriptions of values that bodies carry.
macro_rules! described {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

described! {
    /// An email.
    EmailText = string(Some(email::EMAIL_CHARS_MAX))
        .pattern(Some(r"^\s*[^\s@\u0000-\u001f\u007f-\u009f][^@\u0000-\u001f\u007f-\u009f]*@[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f]\s*$"))
        .description(Some("Trimmed and lower-cased; unique on the platform."))
        .examples(["owner@acme.com"]);
    /// A password.
    PasswordText = string(Some(PASSWORD_BYTES_MAX))
        .min_length(Some(1))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
        .description(Some("At most 1,024 bytes."))
        .examples(["correct horse battery staple"]);
    /// A token that is presented.
    TokenText = string(Some(TOKEN_CHARS_MAX))
        .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"));
    /// A name that is not blank.
    NameText = named(text::NAME_CHARS_MAX).examples(["Acme Inc"]);
    /// The name of an API key.
    ApiKeyNameText = named(text::API_KEY_NAME_CHARS_MAX).examples(["Production Key"]);
    /// A label, which may be empty.
    LabelText = string(Some(text::NAME_CHARS_MAX))
        .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
        .examples(["GitHub Webhooks"]);
    /// A number from 1.
    PositiveNumber = number_or_digits(
        1,
        validation::INTEGER_MAX,
        r"^([1-9]\d{0,8}|1\d{9}|20\d{8}|21[0-3]\d{7}|214[0-6]\d{6}|2147[0-3]\d{5}|21474[0-7]\d{4}|214748[0-2]\d{3}|2147483[0-5]\d{2}|21474836[0-3]\d|214748364[0-7])$",
    );
    /// Days an invite is good.
    ValidityDays = number_or_digits(1, 30, r"^([1-9]|[12]\d|30)$");
    /// Seconds for which a webhook secret that was replaced signs too.
    OverlapSeconds = number_or_digits(
        1,
        OVERLAP_SECONDS_MAX,
        r"^([1-9]\d{0,5}|1\d{6}|2[0-4]\d{5}|25[0-8]\d{4}|259[01]\d{3}|2592000)$",
    );
    /// Days that something is kept.
    RetentionDays = number_or_digits(
        1,
        RETENTION_DAYS_MAX,
        r"^([1-9]\d{0,3}|[12]\d{4}|3[0-5]\d{3}|36[0-4]\d{2}|36500)$",
    );
    /// A role, as requests name it.
    RoleGiven = name_or_number(
        r"^([Dd][Ee][Vv][Ee][Ll][Oo][Pp][Ee][Rr]|[Aa][Dd][Mm][Ii][Nn]|[Oo][Ww][Nn][Ee][Rr]|[Vv][Ii][Ee][Ww][Ee][Rr]|0|1|10|20)$",
        &[0, 1, 10, 20],
        "Developer (0), Admin (1), Owner (10) or Viewer (20): the name in any case, or the number.",
        "Developer",
    );
    /// A role that can be invited, as requests name it.
    InvitedRoleGiven = name_or_number(
        r"^([Dd][Ee][Vv][Ee][Ll][Oo][Pp][Ee][Rr]|[Aa][Dd][Mm][Ii][Nn]|[Vv][Ii][Ee][Ww][Ee][Rr]|0|1|20)$",
        &[0, 1, 20],
        "Developer (0), Admin (1) or Viewer (20): the name in any case, or the number.",
        "Developer",
    );
    /// The status of a user, as requests name it.
    UserStatusGiven = name_or_number(
        r"^([Aa][Cc][Tt][Ii][Vv][Ee]|[Ii][Nn][Aa][Cc][Tt][Ii][Vv][Ee]|0|1)$",
        &[0, 1],
        "Active (0) or Inactive (1): the name in any case, or the number.",
        "Active",
    );
    /// The status of an invite, as requests name it.
    InviteStatusGiven = name_or_number(
        r"^([Pp][Ee][Nn][Dd][Ii][Nn][Gg]|[Uu][Ss][Ee][Dd]|0|1)$",
        &[0, 1],
        "Pending (0) or Used (1): the name in any case, or the number.",
        "Pending",
    );
    /// The status of a destination, as filters name it.
    DestinationStatusFilter = name_or_number(
        r"^([Aa][Cc][Tt][Ii][Vv][Ee]|[Ii][Nn][Aa][Cc][Tt][Ii][Vv][Ee]|[Ss][Uu][Ss][Pp][Ee][Nn][Dd][Ee][Dd]|[0-2])$",
        &[0, 1, 2],
        "Active (0), Inactive (1) or Suspended (2): the name in any case, or the number.",
        "Active",
    );
    /// The status of a destination, as requests name it.
    DestinationStatusGiven = string(None)
        .pattern(Some(r"^([Aa][Cc][Tt][Ii][Vv][Ee]|[Ii][Nn][Aa][Cc][Tt][Ii][Vv][Ee])$"))
        .description(Some("`active` or `inactive`, in any case."))
        .examples(["active"]);
}

described! {
    /// The URL of a destination.
    DestinationUrlText = string(Some(URL_LENGTH_MAX))
        .pattern(Some(r"^[Hh][Tt][Tt][Pp][Ss]://[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9-]*)*\.[A-Za-z]{2,}(:[0-9]{0,4})?([/?#][^\s\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\ufeff]*)?$"))
        .description(Some("An absolute https URL whose host is neither a private address nor localhost."))
        .examples(["https://my-server.com/webhook"]);
    /// A time, or a date that stands for all of it.
    DateOrTime = AnyOfBuilder::new()
        .item(string(None).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .item(string(None).format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))))
        .examples(["2026-07-03T14:32:00Z"]);
    /// A mapping.
    MappingGiven = ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(KEYS_MAX))
        .additional_properties(Some(Schema::from(AnyOfBuilder::new()
            .item(string(None).pattern(Some(EXPRESSION)))
            .item(ArrayBuilder::new().items(string(None).pattern(Some(EXPRESSION)))))))
        .description(Some("Keys of what is delivered, each with an expression or an array of expressions."))
        .examples([json!({ "eventId": "id", "userName": "user:name", "tags": ["ref", "head_commit:id"] })]);
    /// A payload.
    PayloadGiven = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Any JSON object."))
        .examples([json!({ "id": 7, "user": { "name": "octo" }, "ref": "main", "head_commit": { "id": "abc" } })]);
}

/// One expression of a mapping; brackets hold an index and close.
const EXPRESSION: &str = r"^[^\[\]]*(\[ *[0-9]{1,9} *\](?=[:+\[]|$)[^\[\]]*)*$";

fn string(chars_max: Option<usize>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(chars_max)
}

fn named(chars_max: usize) -> ObjectBuilder {
    string(Some(chars_max))
        .pattern(Some(r"^\s*[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?\s*$"))
        .description(Some("Trimmed; not blank, without control characters."))
}

fn number_or_digits(minimum: u32, maximum: u32, digits: &str) -> AnyOfBuilder {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(i64::from(minimum)))
        .maximum(Some(i64::from(maximum)));
    AnyOfBuilder::new().item(number).item(string(None).pattern(Some(digits))).examples([5])
}

fn name_or_number(pattern: &str, numbers: &'static [i64], about: &str, example: &str) -> AnyOfBuilder {
    AnyOfBuilder::new()
        .item(string(None).pattern(Some(pattern)))
        .item(ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some(numbers.iter().copied())))
        .description(Some(about))
        .examples([example])
}
