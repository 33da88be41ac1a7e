//! Error responses: `application/problem+json` (RFC 9457).
//!
//! Only this module knows the status codes of refusals and failures: [`refusals`] maps the errors of the domain and of
//! the event store. The cause of a failure is logged here once, with its whole chain and in the span of its request,
//! and is never sent to the client.

mod refusals;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::security_log::Subject;

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Time after which a client should retry a request that an overloaded or failing service refused.
const RETRY_AFTER_DELAY: Duration = Duration::from_secs(1);
/// `Retry-After` of a tenant whose stored payloads have reached their limit: retention runs every ten minutes by default.
const STORAGE_RETRY_AFTER: Duration = Duration::from_secs(600);

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident $name:literal $title:literal),+ $(,)?) => {
        /// Kind of a problem, which clients recognize by its `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),+ }
            }

            /// Returns the `type`, a stable URI reference.
            #[must_use]
            pub fn uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("/problems/", $name)),+ }
            }

            /// Returns the last part of the `type`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }
        }
    };
}

kinds! {
    /// A field, parameter or header is not valid; `errors` names it.
    InvalidInput = BAD_REQUEST "invalid-input" "The request is not valid",
    /// The body is missing or not JSON.
    MalformedBody = BAD_REQUEST "malformed-body" "The body is not valid JSON",
    /// The payload of a webhook is not a JSON object.
    InvalidPayload = BAD_REQUEST "invalid-payload" "The payload is not a JSON object",
    /// A sender has a mapping already.
    MappingAlreadySet = BAD_REQUEST "mapping-already-set" "The sender has a mapping",
    /// A destination has as many senders as it may have.
    TooManySenders = BAD_REQUEST "too-many-senders" "The destination has too many senders",
    /// An event that was not given up cannot be replayed.
    EventNotReplayable = BAD_REQUEST "event-not-replayable" "The event cannot be replayed",
    /// An event that does not wait cannot be cancelled.
    EventNotCancellable = BAD_REQUEST "event-not-cancellable" "The event cannot be cancelled",
    /// The access token is missing, invalid or expired.
    Unauthenticated = UNAUTHORIZED "unauthenticated" "Authentication is required",
    /// The email address or password is wrong, or the user is inactive.
    WrongCredentials = UNAUTHORIZED "wrong-credentials" "Wrong email or password",
    /// The login needs a code as well; the password was right.
    SecondFactorRequired = UNAUTHORIZED "second-factor-required" "A second factor is required",
    /// The refresh token is invalid, expired or was used before.
    RefreshTokenRefused = UNAUTHORIZED "refresh-token-refused" "The refresh token is not valid",
    /// The API key is missing, unknown or revoked.
    ApiKeyRefused = UNAUTHORIZED "api-key-refused" "A valid API key is required",
    /// The caller's role does not allow it.
    RoleForbids = FORBIDDEN "role-forbids" "Your role does not allow this",
    /// A portal link shows its destination only, and does only what its access allows.
    PortalLinkForbids = FORBIDDEN "portal-link-forbids" "The portal link does not allow this",
    /// The resource belongs to another tenant.
    OtherTenant = FORBIDDEN "other-tenant" "The resource belongs to another tenant",
    /// Registration of tenants is closed, or needs an invitation that is not valid or missing.
    RegistrationRefused = FORBIDDEN "registration-refused" "Registration is not open",
    /// The operator of the installation has suspended the tenant.
    TenantSuspended = FORBIDDEN "tenant-suspended" "The tenant is suspended",
    /// The resource does not exist.
    NotFound = NOT_FOUND "not-found" "Not found",
    NoSuchRoute = NOT_FOUND "no-such-route" "No such route",
    /// The route exists, its method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "Method not allowed",
    /// The client was too slow.
    RequestTimeout = REQUEST_TIMEOUT "request-timeout" "The request took too long to arrive",
    NameTaken = CONFLICT "name-taken" "The name is in use",
    EmailTaken = CONFLICT "email-taken" "The email address is in use",
    /// The change would leave the tenant without an Owner.
    LastOwner = CONFLICT "last-owner" "The tenant needs an Owner",
    /// The user has a second factor already.
    SecondFactorEnabled = CONFLICT "second-factor-enabled" "The user has a second factor",
    /// The user has no second factor, or its enrolment has not begun.
    SecondFactorNotEnabled = CONFLICT "second-factor-not-enabled" "The user has no second factor",
    /// The personal data of a user can be erased when the user is deleted.
    UserNotDeleted = CONFLICT "user-not-deleted" "The user is not deleted",
    /// An attempt to deliver the event is in progress.
    AttemptInProgress = CONFLICT "attempt-in-progress" "An attempt is in progress",
    /// A legal hold forbids to erase it, or is placed already.
    LegalHold = CONFLICT "legal-hold" "There is a legal hold",
    BulkActionEnded = CONFLICT "bulk-action-ended" "The bulk action has ended",
    InviteUsed = CONFLICT "invite-used" "The invite has been used",
    InviteExpired = CONFLICT "invite-expired" "The invite has expired",
    /// Concurrent changes of the same resource persist.
    Conflict = CONFLICT "conflict" "Concurrent change",
    /// The body is beyond the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large",
    /// The body is not declared as JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body must be JSON",
    /// The destination is inactive or suspended.
    DestinationNotActive = UNPROCESSABLE_ENTITY "destination-not-active" "The destination is not active",
    /// The tenant has as many of a resource as it may have.
    TenantLimit = UNPROCESSABLE_ENTITY "tenant-limit" "The tenant has reached a limit",
    /// A rate limit is exceeded.
    TooManyRequests = TOO_MANY_REQUESTS "too-many-requests" "Too many requests",
    /// An unexpected error occurred.
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal error",
    /// A webhook passed through too many installations.
    LoopDetected = LOOP_DETECTED "loop-detected" "Webhook loop",
    /// The service is overloaded, or a part of it is not available.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Service unavailable",
}

/// Error response of a request.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: FieldErrors,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    subject: Option<Subject>,
    is_overload: bool,
}

/// Marks the response to a request that was refused because all requests, or those of its holder, have reached a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overload;

/// Errors of each field, parameter or header of a request, as clauses that follow its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<Cow<'static, str>, Vec<String>>);

/// Error response (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Kind of the problem, a stable URI reference.
    #[serde(rename = "type")]
    #[schema(rename = "type", format = "uri-reference", examples("/problems/invalid-input"))]
    uri: &'a str,
    /// Short name of the kind.
    #[schema(examples("The request is not valid"))]
    title: &'a str,
    /// HTTP status.
    #[schema(minimum = 400, maximum = 599, examples(400))]
    status: u16,
    /// Explanation of this occurrence of the problem.
    #[schema(examples("The request is not valid; `errors` names each problem."))]
    detail: &'a str,
    /// With status 400: the errors of each field, parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>, nullable = false)]
    errors: Option<&'a FieldErrors>,
}

impl FieldErrors {
    #[must_use]
    pub fn of(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }

    pub fn add(&mut self, field: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(message.into());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: FieldErrors::default(),
            retry_after: None,
            cause: None,
            subject: None,
            is_overload: false,
        }
    }

    /// Returns a problem with fields, parameters or headers.
    #[must_use]
    pub fn invalid(errors: FieldErrors) -> Self {
        Self {
            errors,
            ..Self::new(Kind::InvalidInput, "The request is not valid; `errors` names each problem.")
        }
    }

    /// Returns the problem that a resource does not exist.
    #[must_use]
    pub fn not_found(resource: &str) -> Self {
        Self::new(Kind::NotFound, format!("No {resource} has this id."))
    }

    /// Returns the problem that a resource belongs to another tenant.
    #[must_use]
    pub fn other_tenant(resource: &str) -> Self {
        Self::new(Kind::OtherTenant, format!("The {resource} belongs to another tenant."))
    }

    /// Returns the problem that a portal link does not give access to something, which `detail` names.
    #[must_use]
    pub fn portal_link_forbids(detail: &'static str) -> Self {
        Self::new(Kind::PortalLinkForbids, detail)
    }

    /// Returns the problem that the operator has suspended the caller's tenant.
    #[must_use]
    pub fn tenant_suspended() -> Self {
        Self::new(
            Kind::TenantSuspended,
            "The operator of this installation has suspended the tenant. Its webhooks and logins are refused, and its \
             deliveries wait, until the operator resumes it.",
        )
    }

    /// Returns the problem of an unexpected error, whose cause is only logged.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(Kind::Internal, "An unexpected error occurred.") }
    }

    /// Returns the problem that a part of the service is not available; the cause is only logged.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            retry_after: Some(RETRY_AFTER_DELAY),
            ..Self::new(Kind::Unavailable, "A part of the service is not available. Try again later.")
        }
    }

    /// Returns the problem that the database does not answer, which is logged elsewhere.
    #[must_use]
    pub fn database_away() -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_DELAY),
            ..Self::new(Kind::Unavailable, "The service cannot reach its database. Try again later.")
        }
    }

    /// Returns the problem that a change of the user is not in the read models yet, so they cannot tell what the user may do.
    #[must_use]
    pub fn read_model_behind() -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_DELAY),
            ..Self::new(Kind::Unavailable, "A change of this user is being applied. Try again later.")
        }
    }

    /// Returns the problem that all requests together have reached a limit, which `detail` names.
    pub(crate) fn overloaded(detail: String) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_DELAY),
            is_overload: true,
            ..Self::new(Kind::Unavailable, detail)
        }
    }

    /// Returns the problem that the requests of one client or tenant have reached their share of a limit, which
    /// `detail` names.
    pub(crate) fn share_used(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_DELAY),
            is_overload: true,
            ..Self::new(Kind::TooManyRequests, detail)
        }
    }

    /// Returns the problem that a rate limit is exceeded for `wait`.
    #[must_use]
    pub fn too_many_requests(wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(
                Kind::TooManyRequests,
                "The rate limit is exceeded. Try again after the time in `Retry-After`.",
            )
        }
    }

    /// Returns the problem that a tenant has sent more webhooks than it may for `wait`.
    pub(crate) fn event_rate_exceeded(per_second: NonZeroU32, wait: Duration) -> Self {
        let detail = format!(
            "The tenant may send webhooks at a rate of {per_second} per second. Try again after the time in `Retry-After`."
        );
        Self { retry_after: Some(wait), ..Self::new(Kind::TooManyRequests, detail) }
    }

    /// Returns the problem that the stored payloads of a tenant have reached their limit.
    pub(crate) fn storage_limit_reached(bytes_max: NonZeroU64) -> Self {
        let detail = format!(
            "The stored payloads of the tenant have reached {bytes_max} bytes, the most that this installation allows. \
             Webhooks are accepted again when retention has erased payloads: shorten it, or ask the operator for more."
        );
        Self { retry_after: Some(STORAGE_RETRY_AFTER), ..Self::new(Kind::TooManyRequests, detail) }
    }

    #[must_use]
    pub fn with_errors(self, errors: FieldErrors) -> Self {
        Self { errors, ..self }
    }

    /// Names whom the refusal is about, for the security log. The response does not.
    #[must_use]
    pub(crate) fn about(self, subject: Option<Subject>) -> Self {
        Self { subject, ..self }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn log(&self) {
        if let Some(cause) = &self.cause {
            tracing::error!(error = chain(&**cause), problem = self.kind.uri(), "a request failed");
        }
    }
}

/// Returns the messages of an error and of all its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let status = self.kind.status();
        let body = ProblemBody {
            uri: self.kind.uri(),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            errors: (!self.errors.is_empty()).then_some(&self.errors),
        };
        let body = serde_json::to_vec(&body).expect("texts and a number can be serialized");
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        response.extensions_mut().insert(self.kind);
        if let Some(subject) = self.subject {
            response.extensions_mut().insert(subject);
        }
        if self.is_overload {
            response.extensions_mut().insert(Overload);
        }
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(challenge) = self.kind.challenge() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl Kind {
    /// Returns the `WWW-Authenticate` of a 401 (RFC 9110, section 11.6.1).
    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::ApiKeyRefused => Some(r#"ApiKey realm="hooksentry""#),
            kind if kind.status() == StatusCode::UNAUTHORIZED => Some(r#"Bearer realm="hooksentry""#),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_kind_has_a_unique_type_and_an_error_status() {
        let uris: HashSet<_> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(uris.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert_eq!(kind.challenge().is_some(), kind.status() == StatusCode::UNAUTHORIZED, "{kind:?}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let response = Problem::too_many_requests(Duration::from_millis(wait)).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], header);
        }
    }

    #[test]
    fn the_chain_names_every_cause_once() {
        let inner = std::io::Error::other("disk full");
        let outer = crate::event_store::AppendFailure::Database(sqlx::Error::Io(inner));
        assert_eq!(chain(&outer).matches("disk full").count(), 2, "sqlx repeats its source in its text");
        assert!(chain(&outer).starts_with("the event log cannot be written: "));
    }
}
