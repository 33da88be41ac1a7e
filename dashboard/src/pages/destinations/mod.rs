//! `/destinations`: where events are delivered.

pub(crate) mod legal_hold;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod senders;
mod sparkline;

/// Labels of the forms' fields.
const LABELS: [(&str, &str); 4] = [
    ("url", "URL"),
    ("serverRateLimit", "Concurrent requests at most"),
    ("label", "Label"),
    ("reason", "Reason"),
];
