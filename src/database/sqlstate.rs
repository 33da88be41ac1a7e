//! What errors of PostgreSQL say about the server (PostgreSQL manual, appendix A).

use sqlx::error::DatabaseError;

/// Classes after which the server closes the connection: connection exception, operator intervention.
const CLOSING_CLASSES: [&str; 2] = ["08", "57P"];
/// Class of insufficient resources, such as too many connections or a full disk.
const INSUFFICIENT_RESOURCES: &str = "53";
/// A write on a server that has become a standby.
const READ_ONLY: &str = "25006";

/// Whether the server closes the connection after this error.
pub(super) fn is_closing(error: &dyn DatabaseError) -> bool {
    CLOSING_CLASSES.iter().any(|class| has_class(error, class))
}

/// Whether the server is a standby now.
pub(super) fn is_of_standby(error: &dyn DatabaseError) -> bool {
    has_class(error, READ_ONLY)
}

/// Whether the same statement may succeed later, or on another connection: the server stops, starts, fails over or
/// lacks resources.
#[must_use]
pub fn is_passing(error: &dyn DatabaseError) -> bool {
    is_closing(error) || is_of_standby(error) || has_class(error, INSUFFICIENT_RESOURCES)
}

/// Whether a row exists already that the statement was to insert.
#[must_use]
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
}

fn has_class(error: &dyn DatabaseError, class: &str) -> bool {
    error.code().is_some_and(|code| code.starts_with(class))
}
