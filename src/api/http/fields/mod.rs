//! Fields of request bodies. Each field type says in one place how a value is read, why it is refused and how
//! OpenAPI describes it; [`body!`] composes them into the body of a request.
//!
//! A derived deserializer is not used: clients of this API send names in any case and numbers as strings, `null`
//! means the same as an absent field, and a response names every wrong field at once.

pub(crate) mod choice;
pub(crate) mod destination;
pub(crate) mod number;
pub(crate) mod scope;
pub(crate) mod text;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::api::http::body::Fields;
use crate::api::http::problem::Problem;

/// Type of a value in a request body. `C` is what its rules depend on besides the value, such as the password
/// policy.
pub(crate) trait Field<C>: ToSchema {
    type Value;

    /// Reads a value that is not `null`.
    ///
    /// # Errors
    /// What is wrong with the value, as a clause that follows the name of the field.
    fn parse(value: &Value, context: &C) -> Result<Self::Value, String>;

    /// Meaning of `null`, where it differs from that of an absent field.
    fn null() -> Option<Self::Value> {
        None
    }
}

/// Type of a property in [`body!`]: a [`Field`] is required, `Option` of one is optional.
pub(crate) trait Property<C> {
    type Value;

    /// Reads the property, and notes in `fields` what is wrong with it. Returns `None` only in that case.
    fn read(fields: &mut Fields, name: &'static str, context: &C) -> Option<Self::Value>;
}

/// Request body made of [`Property`] values, declared by [`body!`].
pub(crate) trait RequestBody<C>: Sized {
    /// Reads all properties.
    ///
    /// # Errors
    /// A problem of kind `InvalidInput` that names every wrong field.
    fn parse(fields: Fields, context: &C) -> Result<Self, Problem>;
}

/// Declares types that exist only as schemas of the OpenAPI document.
macro_rules! schema {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $schema.into()
            }
        }

        impl ::utoipa::ToSchema for $name {}
    )+};
}
pub(crate) use schema;

/// Declares field types, each with the type of its values, its schema and its rule. The rule may depend on a
/// context: `parse: |value, passwords: Passwords| ...`.
macro_rules! field {
    (@impl $name:ident: $value:ty, ($sent:ident), $parse:expr, $($null:expr)?) => {
        impl<C> $crate::api::http::fields::Field<C> for $name {
            type Value = $value;

            fn parse($sent: &::serde_json::Value, _: &C) -> Result<$value, String> {
                $parse
            }

            $(fn null() -> Option<$value> {
                Some($null)
            })?
        }
    };
    (@impl $name:ident: $value:ty, ($sent:ident, $given:ident: $context:ty), $parse:expr,) => {
        impl $crate::api::http::fields::Field<$context> for $name {
            type Value = $value;

            fn parse($sent: &::serde_json::Value, $given: &$context) -> Result<$value, String> {
                $parse
            }
        }
    };
    ($(
        $(#[$doc:meta])*
        $name:ident: $value:ty {
            schema: $schema:expr,
            parse: |$sent:ident $(, $given:ident: $context:ty)?| $parse:expr
            $(, null: $null:expr)? $(,)?
        }
    )+) => {$(
        $crate::api::http::fields::schema! { $(#[$doc])* $name = $schema; }
        $crate::api::http::fields::field! {
            @impl $name: $value, ($sent $(, $given: $context)?), $parse, $($null)?
        }
        $crate::api::http::fields::properties! { $name }
    )+};
}
pub(crate) use field;

/// Lets field types be properties of a body, required and optional.
macro_rules! properties {
    ($($name:ty),+) => {$(
        impl<C> $crate::api::http::fields::Property<C> for $name
        where
            $name: $crate::api::http::fields::Field<C>,
        {
            type Value = <$name as $crate::api::http::fields::Field<C>>::Value;

            fn read(
                fields: &mut $crate::api::http::body::Fields,
                name: &'static str,
                context: &C,
            ) -> Option<Self::Value> {
                fields.required::<Self, C>(name, context)
            }
        }

        impl<C> $crate::api::http::fields::Property<C> for Option<$name>
        where
            $name: $crate::api::http::fields::Field<C>,
        {
            type Value = Option<<$name as $crate::api::http::fields::Field<C>>::Value>;

            fn read(
                fields: &mut $crate::api::http::body::Fields,
                name: &'static str,
                context: &C,
            ) -> Option<Self::Value> {
                // A value that was refused is noted in the fields; the body is not built then.
                Some(fields.optional::<$name, C>(name, context))
            }
        }
    )+};
}
pub(crate) use properties;

/// Declares the body of a request: its type, how it is read, and its schema.
///
/// ```ignore
/// body! {
///     /// Registration of a user.
///     NewUser with Passwords {
///         email: EmailText = "email",
///         password: PasswordText = "password",
///         role: Option<RoleGiven> = "role",
///     }
/// }
/// let new: NewUser = body.read_with(&passwords).await?;
/// ```
///
/// On the left is the name in Rust, on the right the one in JSON. `with` names the context of the rules.
macro_rules! body {
    (@parse $body:ident with $context:ty {
        $($(#[$attribute:meta])* $field:ident: $property:ty = $name:literal),+ $(,)?
    }) => {
        impl $crate::api::http::fields::RequestBody<$context> for $body {
            fn parse(
                mut fields: $crate::api::http::body::Fields,
                context: &$context,
            ) -> Result<Self, $crate::api::http::problem::Problem> {
                use $crate::api::http::fields::Property;
                $(let $field = <$property as Property<$context>>::read(&mut fields, $name, context);)+
                fields.complete(|| Some(Self { $($field: $field?),+ }))
            }
        }
    };
    ($(#[$meta:meta])* $body:ident { $($fields:tt)+ }) => {
        $crate::api::http::fields::body! { $(#[$meta])* $body with () { $($fields)+ } }
    };
    ($(#[$meta:meta])* $body:ident with $context:ty {
        $($(#[$attribute:meta])* $field:ident: $property:ty = $name:literal),+ $(,)?
    }) => {
        #[derive(Debug, ::utoipa::ToSchema)]
        $(#[$meta])*
        pub(crate) struct $body {
            $(
                $(#[$attribute])*
                #[schema(value_type = $property, rename = $name)]
                pub(crate) $field: <$property as $crate::api::http::fields::Property<$context>>::Value,
            )+
        }

        $crate::api::http::fields::body! { @parse $body with $context { $($field: $property = $name),+ } }
    };
}
pub(crate) use body;

/// String of at most `chars_max` characters.
pub(crate) fn string(chars_max: Option<usize>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(chars_max)
}

/// Regular expression for each of `words` in any ASCII case.
pub(crate) fn in_any_case(words: impl IntoIterator<Item = String>) -> String {
    let alternatives = words.into_iter().map(|word| {
        let letter = |letter: char| match letter.is_ascii_alphabetic() {
            true => format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()),
            false => letter.to_string(),
        };
        word.chars().map(letter).collect::<String>()
    });
    match alternatives.collect::<Vec<_>>().as_slice() {
        [only] => format!("^{only}$"),
        several => format!("^({})$", several.join("|")),
    }
}
