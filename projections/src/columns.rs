//! How values stand in columns: enums as the numbers that lists are sorted by, text as Postgres takes it.

use aggregates::destination::{AuthType, Stage};
use aggregates::role::{Role, UserStatus};
use aggregates::sealed::Sealed;
use uuid::Uuid;

/// A value read from `column`; none is an error of the reader, not of whoever asked.
pub(crate) fn known<T>(column: &str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "the value stands for nothing that this program knows".into(),
    })
}

pub(crate) fn role(column: &str, number: i16) -> Result<Role, sqlx::Error> {
    known(column, Role::from_number(i64::from(number)))
}

pub(crate) fn user_status(column: &str, number: i16) -> Result<UserStatus, sqlx::Error> {
    known(column, UserStatus::from_number(i64::from(number)))
}

pub(crate) fn stage_number(stage: Stage) -> i16 {
    stage.number()
}

pub(crate) fn stage(column: &str, number: i16) -> Result<Stage, sqlx::Error> {
    known(column, Stage::from_number(i64::from(number)))
}

pub(crate) fn auth_type_number(auth_type: AuthType) -> i16 {
    auth_type.number()
}

pub(crate) fn auth_type(column: &str, number: i16) -> Result<AuthType, sqlx::Error> {
    known(column, AuthType::from_number(i64::from(number)))
}

/// The two columns of a sealed secret that may be absent.
pub(crate) fn sealed(data_key: Option<Uuid>, ciphertext: Option<String>) -> Option<Sealed> {
    Some(Sealed { data_key: data_key?, ciphertext: ciphertext? })
}

/// A count that is never negative.
pub(crate) fn count(column: &str, number: i64) -> Result<u32, sqlx::Error> {
    known(column, u32::try_from(number).ok())
}

/// A version of a stream.
pub(crate) fn version(column: &str, number: i64) -> Result<u64, sqlx::Error> {
    known(column, u64::try_from(number).ok())
}

/// Text from outside, without NUL: Postgres stores all of Unicode but that.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
