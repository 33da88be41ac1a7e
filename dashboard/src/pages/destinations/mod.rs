//! `/destinations`: where events are delivered.

pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod senders;
mod sparkline;

/// Labels of the forms' fields.
const LABELS: [(&str, &str); 3] =
    [("url", "URL"), ("serverRateLimit", "Concurrent requests at most"), ("label", "Label")];
