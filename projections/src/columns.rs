//! Values in columns: how domain types are stored, and which texts PostgreSQL accepts.

use aggregates::destination::{AuthType, Stage};
use aggregates::email::Email;
use aggregates::ids::{
    ApiKeyId, DestinationId, InviteId, PortalLinkId, SenderId, SessionId, TenantId, UserId,
};
use aggregates::portal_link::PortalAccess;
use aggregates::role::{Role, UserStatus};
use aggregates::sealed::Sealed;
use chrono::{DateTime, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgHasArrayType, PgRow, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row, Type};
use uuid::Uuid;

/// A value that is stored in one column.
pub(crate) trait ColumnValue: Sized {
    /// Type of the column, as the driver knows it.
    type Stored: for<'r> Decode<'r, Postgres>
        + for<'q> Encode<'q, Postgres>
        + Type<Postgres>
        + PgHasArrayType
        + 'static;

    fn to_stored(&self) -> Self::Stored;
    fn from_stored(stored: Self::Stored) -> Result<Self, BoxDynError>;
}

/// A column read as a domain value. In checked SQL: `role AS "role: Stored<Role>"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<T>(pub(crate) T);

impl<T: ColumnValue> Type<Postgres> for Stored<T> {
    fn type_info() -> PgTypeInfo {
        T::Stored::type_info()
    }

    fn compatible(column: &PgTypeInfo) -> bool {
        T::Stored::compatible(column)
    }
}

impl<'r, T: ColumnValue> Decode<'r, Postgres> for Stored<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        T::from_stored(T::Stored::decode(value)?).map(Self)
    }
}

/// Reads a column of a row as a domain value.
pub(crate) fn read<T: ColumnValue>(row: &PgRow, column: &str) -> Result<T, sqlx::Error> {
    row.try_get(column).map(|Stored(value)| value)
}

macro_rules! stored_as_they_are {
    ($($value:ty),+) => {
        $(impl ColumnValue for $value {
            type Stored = Self;

            fn to_stored(&self) -> Self {
                self.clone()
            }

            fn from_stored(stored: Self) -> Result<Self, BoxDynError> {
                Ok(stored)
            }
        })+
    };
}
stored_as_they_are!(bool, i64, String, Uuid, DateTime<Utc>);

/// Names domain types, the type of their columns, and the conversions there and back.
macro_rules! stored_as {
    ($($($value:ident)+: $stored:ty, |$to:ident| $to_stored:expr, |$from:ident| $from_stored:expr;)+) => {
        $($(
            impl ColumnValue for $value {
                type Stored = $stored;

                fn to_stored(&self) -> $stored {
                    let $to = self;
                    $to_stored
                }

                fn from_stored($from: $stored) -> Result<Self, BoxDynError> {
                    $from_stored
                }
            }

            impl From<Stored<$value>> for $value {
                fn from(stored: Stored<$value>) -> Self {
                    stored.0
                }
            }
        )+)+
    };
}
stored_as! {
    TenantId UserId SessionId InviteId ApiKeyId PortalLinkId DestinationId SenderId:
        Uuid, |id| id.0, |stored| Ok(Self(stored));
    Role UserStatus AuthType Stage PortalAccess:
        i16, |variant| variant.number(), |stored| variant(stored, Self::from_number);
    Email:
        String, |email| email.as_str().to_owned(), |stored| Ok(Self::parse(&stored)?);
    u32:
        i64, |count| (*count).into(), |stored| Ok(stored.try_into()?);
    u64:
        i64, |version| i64::try_from(*version).unwrap_or(i64::MAX), |stored| Ok(stored.try_into()?);
}

fn variant<E>(number: i16, from_number: fn(i64) -> Option<E>) -> Result<E, BoxDynError> {
    from_number(number.into()).ok_or_else(|| format!("{number} is not the number of a variant").into())
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    type Stored = Option<T::Stored>;

    fn to_stored(&self) -> Self::Stored {
        self.as_ref().map(T::to_stored)
    }

    fn from_stored(stored: Self::Stored) -> Result<Self, BoxDynError> {
        stored.map(T::from_stored).transpose()
    }
}

/// Returns a value that was converted from `column`.
///
/// # Errors
/// When there is none: the stored value cannot be converted.
pub(crate) fn known<T>(column: &str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the stored value is unknown to this version of the program".into(),
    })
}

/// Returns a sealed secret, whose columns are both present or both NULL.
pub(crate) fn sealed(data_key: Option<Uuid>, ciphertext: Option<String>) -> Option<Sealed> {
    Some(Sealed { data_key: data_key?, ciphertext: ciphertext? })
}

/// Converts a version of a stream.
///
/// # Errors
/// When it is negative.
pub(crate) fn version(column: &str, number: i64) -> Result<u64, sqlx::Error> {
    known(column, u64::try_from(number).ok())
}

/// Replaces NUL, the only character that PostgreSQL does not store.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
