//! Fields and query parameters that choose among names, sent in any case or as the number of the name.

use std::borrow::Cow;

use aggregates::role::{Role, UserStatus};
use projections::destinations;
use projections::invites::InviteStatus;
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};

use super::number::{decimal, whole_number};
use super::{field, in_any_case, string};

/// Name and number of a value.
pub(crate) type Variant = (&'static str, i16);

/// Field type or query parameter that chooses among values of an enum.
pub(crate) trait Choice {
    type Value: Copy + 'static;
    const VALUES: &'static [Self::Value];

    fn variant(value: Self::Value) -> Variant;

    fn variants() -> Vec<Variant> {
        Self::VALUES.iter().copied().map(Self::variant).collect()
    }

    /// Reads the value of a field.
    ///
    /// # Errors
    /// Which values there are, as a clause that follows the name of the field.
    fn from_json(value: &Value) -> Result<Self::Value, String> {
        let text = value.as_str().unwrap_or_default();
        find(&Self::variants(), text, whole_number(value)).map(|index| Self::VALUES[index])
    }

    /// Reads a query parameter.
    ///
    /// # Errors
    /// As [`Choice::from_json`].
    fn from_text(text: &str) -> Result<Self::Value, Cow<'static, str>> {
        let found = find(&Self::variants(), text, decimal(text));
        found.map(|index| Self::VALUES[index]).map_err(Cow::Owned)
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $choice:ident: $enum:ty { $example:ident $(, $variant:ident)* $(,)? })+) => {$(
        impl Choice for $choice {
            type Value = $enum;
            const VALUES: &'static [$enum] = &[<$enum>::$example $(, <$enum>::$variant)*];

            fn variant(value: $enum) -> Variant {
                (value.name(), value.number())
            }
        }

        field! {
            $(#[$doc])*
            $choice: $enum {
                schema: schema(&$choice::variants()),
                parse: |value| $choice::from_json(value),
            }
        }
    )+};
}

choices! {
    /// Role of a user.
    RoleGiven: Role { Developer, Admin, Owner, Viewer }
    /// Role that an invite can give.
    InvitedRoleGiven: Role { Developer, Admin, Viewer }
    /// Status of a user.
    UserStatusGiven: UserStatus { Active, Inactive }
    /// Status of an invite.
    InviteStatusGiven: InviteStatus { Pending, Used }
    /// Status of a destination, in filters.
    DestinationStatusFilter: destinations::Status { Active, Inactive, Suspended }
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

    #[test]
    fn an_enum_comes_by_name_in_any_case_or_by_number() {
        for value in [json!("owner"), json!("OWNER"), json!(10), json!("10")] {
            assert_eq!(RoleGiven::from_json(&value), Ok(Role::Owner), "{value}");
        }
        for value in [json!("boss"), json!(2), json!(-1), json!(""), json!([]), json!(true), json!("1O")] {
            assert!(RoleGiven::from_json(&value).is_err(), "{value}");
        }
        assert!(InvitedRoleGiven::from_json(&json!("Owner")).is_err());
        assert_eq!(UserStatusGiven::from_text("inactive"), Ok(UserStatus::Inactive));
        assert_eq!(
            UserStatusGiven::from_json(&json!(2)),
            Err("must be Active (0) or Inactive (1)".to_owned())
        );
    }
}
