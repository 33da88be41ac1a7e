//! Fields and query parameters that choose among names, sent in any case or as the number of the name.

use aggregates::bulk_action::EventAction;
use aggregates::portal_link::PortalAccess;
use aggregates::role::{Role, UserStatus};
use aggregates::stored_enum::StoredEnum;
use projections::webhook_events::EventStatus;
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};

use super::number::whole_number;
use super::{field, in_any_case, string};

/// Name and number of a value.
pub(crate) type Variant = (&'static str, i16);

/// Declares field types that choose among values of an enum.
macro_rules! choices {
    ($($(#[$doc:meta])* $choice:ident: $enum:ident { $($variant:ident),+ $(,)? })+) => {
        field! {$(
            $(#[$doc])*
            $choice: $enum {
                schema: schema(&variants(&[$($enum::$variant),+])),
                parse: |value| read(&[$($enum::$variant),+], value),
            }
        )+}
    };
}

choices! {
    /// Role of a user.
    RoleGiven: Role { Developer, Admin, Owner, Viewer }
    /// Role that an invite can give.
    InvitedRoleGiven: Role { Developer, Admin, Viewer }
    /// Status of a user.
    UserStatusGiven: UserStatus { Active, Inactive }
    /// What is done to each event.
    EventActionGiven: EventAction { Replay, Cancel }
    /// What the holder of a portal link may do.
    PortalAccessGiven: PortalAccess { Read, Operate }
    /// Status of a webhook event.
    EventStatusGiven: EventStatus { Pending, Processing, Succeeded, Failed, WaitingRetry, CriticalFailure, Cancelled }
}

fn variants<E: StoredEnum>(values: &[E]) -> Vec<Variant> {
    values.iter().map(|value| (value.name(), value.number())).collect()
}

fn read<E: StoredEnum>(values: &[E], value: &Value) -> Result<E, String> {
    let text = value.as_str().unwrap_or_default();
    find(&variants(values), text, whole_number(value)).map(|index| values[index])
}

/// Returns the index of the variant with this name, in any case, or this number.
///
/// # Errors
/// Which variants there are, as a clause that follows the name of a field or parameter.
pub(crate) fn find(variants: &[Variant], name: &str, number: Option<i64>) -> Result<usize, String> {
    variants
        .iter()
        .position(|variant| variant.0.eq_ignore_ascii_case(name) || number == Some(variant.1.into()))
        .ok_or_else(|| format!("must be {}", listed(variants)))
}

/// Returns the schema of a choice. The first variant is its example.
pub(crate) fn schema(variants: &[Variant]) -> AnyOfBuilder {
    let names = variants.iter().map(|(name, _)| (*name).to_owned());
    let numbers = variants.iter().map(|(_, number)| *number);
    let pattern = in_any_case(names.chain(numbers.clone().map(|number| number.to_string())));
    AnyOfBuilder::new()
        .item(string(None).pattern(Some(pattern)))
        .item(ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some(numbers)))
        .description(Some(format!("{}: the name in any case, or the number.", listed(variants))))
        .examples(variants.first().map(|(name, _)| *name))
}

/// Lists variants for a sentence: `Active (0) or Inactive (1)`.
fn listed(variants: &[Variant]) -> String {
    let variants: Vec<_> = variants.iter().map(|(name, number)| format!("{name} ({number})")).collect();
    match variants.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => variants.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::fields::Field;

    fn parse<F: Field<()>>(value: &Value) -> Result<F::Value, String> {
        F::parse(value, &())
    }

    #[test]
    fn an_enum_comes_by_name_in_any_case_or_by_number() {
        for value in [json!("owner"), json!("OWNER"), json!(10), json!("10")] {
            assert_eq!(parse::<RoleGiven>(&value), Ok(Role::Owner), "{value}");
        }
        for value in [json!("boss"), json!(2), json!(-1), json!(""), json!([]), json!(true), json!("1O")] {
            assert!(parse::<RoleGiven>(&value).is_err(), "{value}");
        }
        assert!(parse::<InvitedRoleGiven>(&json!("Owner")).is_err());
        assert_eq!(parse::<UserStatusGiven>(&json!(2)), Err("must be Active (0) or Inactive (1)".to_owned()));
    }
}
