//! Outcomes of attempts.

/// Words for the outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeWords {
    /// Name for tables.
    pub label: &'static str,
    /// What happened, as a clause that can follow "Attempt 3:".
    pub happened: &'static str,
    /// What the person can do.
    pub advice: &'static str,
    pub is_success: bool,
}

/// Outcomes, in the order in which filters offer them.
pub(crate) const OUTCOMES: [&str; 13] = [
    "refused_status",
    "timeout",
    "connect",
    "tls",
    "dns",
    "protocol",
    "token_endpoint",
    "blocked_address",
    "credentials",
    "payload_erased",
    "not_sent",
    "unknown",
    "succeeded",
];

/// Returns the words for an outcome of the API, such as `tls`.
#[must_use]
pub fn outcome(code: &str) -> Option<OutcomeWords> {
    let (label, happened, advice) = match code {
        "succeeded" => ("Delivered", "the destination accepted it", ""),
        "refused_status" => (
            "Refused",
            "the destination answered, and refused it",
            "The response below says why. Mend the receiver: the event is tried again by itself, and can be replayed \
             after it was given up.",
        ),
        "timeout" => (
            "Timed out",
            "the destination did not answer in time",
            "The receiver may have processed it all the same. Let it answer first and do the work afterwards.",
        ),
        "connect" => (
            "No connection",
            "the destination could not be reached",
            "Check that the receiver is running, and that a firewall lets connections of this service pass.",
        ),
        "tls" => (
            "TLS failed",
            "no secure connection was possible: the TLS handshake failed or the certificate is not trusted",
            "Check the receiver's certificate: its date, its host name, and that it sends the whole chain.",
        ),
        "dns" => (
            "Name not found",
            "the host name did not lead to an address that may be used",
            "Check the host in the destination's URL and its DNS records. Private addresses are not used.",
        ),
        "blocked_address" => (
            "Address not allowed",
            "the URL names an address or a scheme that this installation does not send to",
            "Use a public https address, or ask the operator to allow this one.",
        ),
        "token_endpoint" => (
            "No access token",
            "the token endpoint of the destination issued no access token, so nothing was sent",
            "Check the credentials and the token URL of the destination.",
        ),
        "protocol" => (
            "Invalid response",
            "the response was not valid HTTP, or larger than allowed",
            "Check what is listening at that address: it may not be an HTTP server, or a proxy changes the response.",
        ),
        "credentials" => (
            "Credentials unreadable",
            "the stored credentials of the destination could not be decrypted, so nothing was sent",
            "Ask the operator whether an encryption key was removed, or set the credentials again.",
        ),
        "unknown" => (
            "Unknown",
            "the worker disappeared, so it is not known whether the request arrived",
            "It will be sent again. The receiver recognizes a repeat by the header X-HookSentry-Event-Id.",
        ),
        "payload_erased" => (
            "Payload erased",
            "the payload does not exist any more, so nothing was sent",
            "It was erased on request or at the end of its retention. It cannot be sent again.",
        ),
        "not_sent" => (
            "Not sent",
            "the worker was held up, so nothing was sent",
            "It will be tried again and does not count as a failed attempt. If it happens often, tell the operator.",
        ),
        _ => return None,
    };
    Some(OutcomeWords { label, happened, advice, is_success: code == "succeeded" })
}
