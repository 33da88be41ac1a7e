//! Facts of an event's history.

/// Returns what a fact of this type says, as a sentence without its details.
#[must_use]
pub fn fact(name: &str) -> Option<&'static str> {
    Some(match name {
        "EventAccepted" => "It was accepted and stored.",
        "DeliveryStarted" => "A worker began an attempt.",
        "DeliveryAttempted" => "The attempt ended.",
        "RetryScheduled" => "Another attempt was scheduled.",
        "CriticalFailure" => "Delivery was given up.",
        "Replayed" => "It was replayed.",
        "Cancelled" => "It was cancelled.",
        "PayloadErased" => "Its payload was erased.",
        _ => return None,
    })
}
