//! What HTTP says when something is not done: `application/problem+json` (RFC 9457).
//!
//! This is the only place that knows status codes of refusals and failures. The domain and the event
//! store speak their own words; [`refusals`] translates them. A failure's cause is logged here, once and
//! as a whole chain, within the span of its request, and never leaves the program.

mod refusals;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// How long a caller should wait before it comes back to a busy or failing service.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident $name:literal $title:literal),+ $(,)?) => {
        /// What is wrong, as a client can tell it apart: the `type` of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Its status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),+ }
            }

            /// Its `type`: a stable URI reference.
            #[must_use]
            pub fn uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("/problems/", $name)),+ }
            }

            /// Its `title`.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }
        }
    };
}

kinds! {
    /// Some field, parameter or header is not as it must be; `errors` says which.
    InvalidInput = BAD_REQUEST "invalid-input" "The request is not valid",
    /// The body is missing or not JSON.
    MalformedBody = BAD_REQUEST "malformed-body" "The body is not valid JSON",
    /// The payload of a webhook is not a JSON object.
    InvalidPayload = BAD_REQUEST "invalid-payload" "The payload is not a JSON object",
    /// A sender has a mapping already.
    MappingAlreadySet = BAD_REQUEST "mapping-already-set" "A mapping is set already",
    /// An event that was not given up cannot be replayed.
    EventNotReplayable = BAD_REQUEST "event-not-replayable" "The event cannot be replayed",
    /// An event that does not wait cannot be cancelled.
    EventNotCancellable = BAD_REQUEST "event-not-cancellable" "The event cannot be cancelled",
    /// No access token, or one that is not valid (any more).
    Unauthenticated = UNAUTHORIZED "unauthenticated" "Authentication is required",
    /// Email and password do not belong together, or the user may not log in.
    WrongCredentials = UNAUTHORIZED "wrong-credentials" "Wrong email or password",
    /// A refresh token that is not valid (any more).
    RefreshTokenRefused = UNAUTHORIZED "refresh-token-refused" "The refresh token is not valid",
    /// No API key, or one that is not valid (any more).
    ApiKeyRefused = UNAUTHORIZED "api-key-refused" "A valid API key is required",
    /// The caller's role does not allow it.
    RoleForbids = FORBIDDEN "role-forbids" "Your role does not allow this",
    /// It belongs to another tenant.
    OtherTenant = FORBIDDEN "other-tenant" "This belongs to another tenant",
    /// No such record.
    NotFound = NOT_FOUND "not-found" "There is no such thing",
    /// No such route.
    NoSuchRoute = NOT_FOUND "no-such-route" "There is no such route",
    /// The route exists, its method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "The route does not offer this method",
    /// The client was too slow.
    RequestTimeout = REQUEST_TIMEOUT "request-timeout" "The request took too long to arrive",
    /// A tenant name is taken.
    NameTaken = CONFLICT "name-taken" "The name is taken",
    /// An email is taken.
    EmailTaken = CONFLICT "email-taken" "The email is in use",
    /// A tenant keeps an Owner.
    LastOwner = CONFLICT "last-owner" "The tenant needs an Owner",
    /// An invite was used.
    InviteUsed = CONFLICT "invite-used" "The invite has been used",
    /// An invite's time is over.
    InviteExpired = CONFLICT "invite-expired" "The invite has expired",
    /// Others changed the same thing again and again.
    Conflict = CONFLICT "conflict" "Others changed it at the same time",
    /// The body is beyond the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large",
    /// The body is not declared as JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body must be JSON",
    /// The destination takes no events now.
    DestinationNotActive = UNPROCESSABLE_ENTITY "destination-not-active" "The destination is not active",
    /// Too many requests of one kind from one place.
    TooManyRequests = TOO_MANY_REQUESTS "too-many-requests" "Too many requests",
    /// Something broke.
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal Server Error",
    /// The service cannot do it now.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Service Unavailable",
}

/// A reason not to do what was asked, on its way to the client.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: FieldErrors,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// What is wrong with each field, parameter or header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<Cow<'static, str>, Vec<String>>);

/// A problem as it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// What kind of problem it is: a stable URI reference.
    #[serde(rename = "type")]
    #[schema(rename = "type", format = "uri-reference", examples("/problems/invalid-input"))]
    uri: &'a str,
    /// The kind in a few words.
    #[schema(examples("The request is not valid"))]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, examples(400))]
    status: u16,
    /// What is wrong with this request, in a sentence.
    #[schema(examples("Some fields are not valid; see errors."))]
    detail: &'a str,
    /// On a 400: what is wrong with each field, parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>, nullable = false)]
    errors: Option<&'a FieldErrors>,
}

impl FieldErrors {
    /// One error.
    #[must_use]
    pub fn of(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }

    /// Adds an error of a field.
    pub fn add(&mut self, field: impl Into<Cow<'static, str>>, message: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(message.into());
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Problem {
    /// A problem of `kind`, explained by `detail`.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: FieldErrors::default(), retry_after: None, cause: None }
    }

    /// Fields, parameters or headers that are not as they must be.
    #[must_use]
    pub fn invalid(errors: FieldErrors) -> Self {
        Self { errors, ..Self::new(Kind::InvalidInput, "Some of it is not valid; see errors.") }
    }

    /// There is no `thing` of the id that was given.
    #[must_use]
    pub fn not_found(thing: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no {thing} of this id."))
    }

    /// The `thing` belongs to another tenant.
    #[must_use]
    pub fn other_tenant(thing: &str) -> Self {
        Self::new(Kind::OtherTenant, format!("The {thing} belongs to another tenant."))
    }

    /// Something broke; the cause is for the log alone.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(Kind::Internal, "An unexpected error occurred.") }
    }

    /// A part of the service cannot be reached; the cause is for the log alone.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            retry_after: Some(COME_BACK_AFTER),
            ..Self::new(Kind::Unavailable, "The service cannot do this at the moment; try again soon.")
        }
    }

    /// The service has as much to do as it can.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            retry_after: Some(COME_BACK_AFTER),
            ..Self::new(Kind::Unavailable, "The service is busy; try again soon.")
        }
    }

    /// A limit is used up for some time.
    #[must_use]
    pub fn too_many_requests(wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(Kind::TooManyRequests, "There were too many such requests; wait before the next one.")
        }
    }

    /// With what is wrong by field.
    #[must_use]
    pub fn with_errors(self, errors: FieldErrors) -> Self {
        Self { errors, ..self }
    }

    /// Its kind.
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

/// An error and all its causes in one line.
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
        let body = serde_json::to_vec(&body).expect("texts and a number can always be written as JSON");
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
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
    /// What a 401 asks for (RFC 9110, section 11.6.1).
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
    fn each_kind_has_a_type_of_its_own_and_a_status_of_a_failure() {
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
