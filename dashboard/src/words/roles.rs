//! Roles and statuses of users.

use super::{StatusWords, Tone};

/// Roles, the lowest first, and what their users may do.
pub(crate) const ROLES: [(&str, &str); 4] = [
    ("Viewer", "sees events, destinations, users and settings"),
    ("Developer", "manages destinations, senders and API keys, and replays events"),
    (
        "Admin",
        "does what developers do, manages users, retention and the webhook secret, and reads the audit trail",
    ),
    ("Owner", "does everything, also with admins and owners, and places legal holds"),
];

/// Returns what users of a role may do.
#[must_use]
pub fn role(name: &str) -> Option<&'static str> {
    ROLES.iter().find(|(role, _)| *role == name).map(|(_, words)| *words)
}

/// Returns the words for a status of a user.
#[must_use]
pub fn user_status(code: &str) -> Option<StatusWords> {
    let (label, meaning, next, tone) = match code {
        "Active" => ("Active", "The user can sign in.", "", Tone::Good),
        "Inactive" => (
            "Deactivated",
            "The user cannot sign in, and all sessions of the user have ended.",
            "Activate the user to change that.",
            Tone::Neutral,
        ),
        _ => return None,
    };
    Some(StatusWords { label, meaning, next, tone })
}
