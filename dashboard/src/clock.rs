//! The time.

use chrono::{DateTime, Utc};

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "this is where the dashboard asks for the time")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}
