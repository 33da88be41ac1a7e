//! Refusals of the API.

/// Words for a kind of problem. What happened is in the problem itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemWords {
    /// What the person can do.
    pub advice: &'static str,
}

/// Returns the words for the last part of a problem's `type`.
#[must_use]
pub fn problem(kind: &str) -> Option<ProblemWords> {
    let advice = match kind {
        "invalid-input" | "malformed-body" | "unsupported-media-type" => "Correct it and send it again.",
        "invalid-payload" => "A payload is a JSON object, such as {\"event\":\"push\"}.",
        "mapping-already-set" => "Remove the mapping of the sender first.",
        "too-many-senders" => "Delete a sender that is not needed any more.",
        "event-not-replayable" => {
            "Only an event whose delivery was given up can be replayed, and only while its payload is stored. Reload the \
             page: it may have been replayed already."
        }
        "event-not-cancellable" => {
            "Only an event that waits can be cancelled. Reload the page to see where it is now."
        }
        "unauthenticated" | "refresh-token-refused" => "Sign in again.",
        "wrong-credentials" => {
            "Check for typing errors. After ten failures within five minutes, wait five minutes."
        }
        "second-factor-required" => "Enter the code of your authenticator app.",
        "api-key-refused" => "Check the API key that the source sends in X-Api-Key.",
        "role-forbids" => "Ask an owner or admin of your tenant to do it, or to change your role.",
        "portal-link-forbids" => "Ask whom you have the link from to do it.",
        "other-tenant" => "You are signed in to another tenant than the one that this belongs to.",
        "registration-refused" => "Ask the operator of this installation for an invitation.",
        "tenant-suspended" => "Ask the operator of this installation. Nothing of yours is lost.",
        "not-found" | "no-such-route" => "The link may be old or mistyped.",
        "method-not-allowed" => "Go back to the page and use its form.",
        "request-timeout" => "Send it again. A slow connection may be the cause.",
        "name-taken" => "Choose another name.",
        "email-taken" => "Sign in with it, or use another email address.",
        "last-owner" => "Make another user an owner first.",
        "second-factor-enabled" => "Disable it first to enrol another one.",
        "second-factor-not-enabled" => "Begin the enrolment again.",
        "user-not-deleted" => "Delete the user first.",
        "attempt-in-progress" => "Wait until the attempt has ended, a minute at most, and try again.",
        "legal-hold" => "An owner can lift the hold.",
        "invite-used" | "invite-expired" => "Ask for a new invitation.",
        "bulk-action-ended" => "Reload the page to see its result.",
        "conflict" => "Another change was made at the same moment. Reload the page and try again.",
        "body-too-large" => "Shorten it.",
        "destination-not-active" => {
            "Switch the destination on, or wait until its circuit breaker has closed."
        }
        "tenant-limit" => "Remove what is not needed any more, or ask the operator for a higher limit.",
        "too-many-requests" => "Wait a little and try again.",
        "loop-detected" => "A destination sends its webhooks back. Change its URL.",
        "internal" => "Try again. If it stays like this, the log of the service has the cause.",
        "unavailable" => "Try again in a few seconds. Nothing that was accepted is lost.",
        _ => return None,
    };
    Some(ProblemWords { advice })
}
