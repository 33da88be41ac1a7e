//! Enums that are stored or shown, each declared once: variants, stored numbers and names.
//!
//! Facts and the API carry the name, columns of read models the number. Generic code of other crates (request
//! parsing, OpenAPI schemas, SQL parameters) works on the trait [`StoredEnum`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Visitor};

#[doc(hidden)]
pub use serde;

/// An enum without payloads whose variants have a stored number and a name.
pub trait StoredEnum: Copy + Eq + fmt::Debug + 'static {
    /// Name of the enum, as its OpenAPI schema is called.
    const TYPE_NAME: &'static str;

    /// Doc comment of the enum, on one line.
    const DESCRIPTION: &'static str;

    /// Every variant, in the order of the declaration.
    const ALL: &'static [Self];

    /// Name in facts and in the API.
    fn name(self) -> &'static str;

    /// Number in columns of read models and, where the API takes numbers, in requests.
    fn number(self) -> i16;

    /// Returns the variant of this name, which may be in any ASCII case.
    #[must_use]
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|variant| variant.name().eq_ignore_ascii_case(name))
    }

    /// Returns the variant of this number.
    #[must_use]
    fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|variant| i64::from(variant.number()) == number)
    }
}

/// Declares an enum and implements [`StoredEnum`], `Display`, `Serialize` and `Deserialize` for it.
///
/// ```
/// aggregates::stored_enum! {
///     /// State of a door.
///     #[derive(Default)]
///     pub enum Door {
///         #[default]
///         Open = 0 => "Open",
///         /// Locked or not.
///         Closed = 1 => "Closed",
///     }
/// }
/// assert_eq!(Door::from_name("closed"), Some(Door::Closed));
/// assert_eq!(Door::Closed.number(), 1);
/// ```
///
/// Serde reads and writes the name, exactly as declared. A declared name or number must not change once it is
/// stored.
#[macro_export]
macro_rules! stored_enum {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($($derive:ident),+)])?
        $visibility:vis enum $enum:ident {
            $($(#[$attribute:meta])* $variant:ident = $number:literal => $name:literal),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash $($(, $derive)+)?)]
        #[repr(i16)]
        $visibility enum $enum {
            $($(#[$attribute])* $variant = $number,)+
        }

        impl $enum {
            /// Every variant, in the order of the declaration.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$variant),+];

            /// Name in facts and in the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Number in columns of read models and, where the API takes numbers, in requests.
            #[must_use]
            pub const fn number(self) -> i16 {
                self as i16
            }

            /// Returns the variant of this name, which may be in any ASCII case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                <Self as $crate::stored_enum::StoredEnum>::from_name(name)
            }

            /// Returns the variant of this number.
            #[must_use]
            pub fn from_number(number: i64) -> Option<Self> {
                <Self as $crate::stored_enum::StoredEnum>::from_number(number)
            }
        }

        impl $crate::stored_enum::StoredEnum for $enum {
            const TYPE_NAME: &'static str = stringify!($enum);
            const DESCRIPTION: &'static str = concat!($($doc),+).trim_ascii();
            const ALL: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn number(self) -> i16 {
                self.number()
            }
        }

        impl ::std::fmt::Display for $enum {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl $crate::stored_enum::serde::Serialize for $enum {
            fn serialize<S: $crate::stored_enum::serde::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> $crate::stored_enum::serde::Deserialize<'de> for $enum {
            fn deserialize<D: $crate::stored_enum::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::stored_enum::deserialize(deserializer)
            }
        }
    };
}

/// Reads the exact name of a variant.
///
/// # Errors
/// When the text is no such name.
#[doc(hidden)]
pub fn deserialize<'de, E: StoredEnum, D: Deserializer<'de>>(deserializer: D) -> Result<E, D::Error> {
    deserializer.deserialize_str(ExactName(PhantomData))
}

struct ExactName<E>(PhantomData<E>);

impl<E: StoredEnum> Visitor<'_> for ExactName<E> {
    type Value = E;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a variant of {}", E::TYPE_NAME)
    }

    fn visit_str<X: de::Error>(self, name: &str) -> Result<E, X> {
        E::ALL
            .iter()
            .copied()
            .find(|variant| variant.name() == name)
            .ok_or_else(|| X::invalid_value(de::Unexpected::Str(name), &self))
    }
}
