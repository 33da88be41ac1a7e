//! Mapping of refusals of the domain and of failures to problems.

use std::convert::Infallible;

use aggregates::access::AccessRefusal;
use aggregates::api_key::ApiKeyRefusal;
use aggregates::bulk_action::BulkActionRefusal;
use aggregates::destination::DestinationRefusal;
use aggregates::email::Email;
use aggregates::erasure::ErasureRefusal;
use aggregates::invite::InviteRefusal;
use aggregates::portal_link::PortalLinkRefusal;
use aggregates::role::RoleRefusal;
use aggregates::sender::SenderRefusal;
use aggregates::session::SessionRefusal;
use aggregates::tenant::TenantRefusal;
use aggregates::user::UserRefusal;
use aggregates::webhook_event::WebhookEventRefusal;
use projections::sessions::CurrentSessionFailure;

use super::{FieldErrors, Kind, Problem};
use crate::database;
use crate::event_store::bulk_action::BulkActionFailure;
use crate::event_store::group_commit::CommitFailure;
use crate::event_store::{AppendFailure, CommandFailure, LoadFailure};
use crate::secrets::passwords::{PasswordFailure, QueueFull};
use crate::secrets::vault::VaultFailure;

impl From<TenantRefusal> for Problem {
    fn from(refusal: TenantRefusal) -> Self {
        match refusal {
            TenantRefusal::LastOwner => Self::new(Kind::LastOwner, sentence(&refusal)),
            TenantRefusal::NotRegistered => Self::not_found("tenant"),
            TenantRefusal::AlreadyRegistered => repeated(refusal),
        }
    }
}

impl From<UserRefusal> for Problem {
    fn from(refusal: UserRefusal) -> Self {
        match refusal {
            UserRefusal::NotRegistered => Self::not_found("user"),
            UserRefusal::NotDeleted => Self::new(Kind::UserNotDeleted, sentence(&refusal)),
            UserRefusal::SecondFactorNotForRole { .. } => Self::new(Kind::RoleForbids, sentence(&refusal)),
            UserRefusal::SecondFactorEnabled => Self::new(Kind::SecondFactorEnabled, sentence(&refusal)),
            UserRefusal::SecondFactorNotBegun | UserRefusal::SecondFactorNotEnabled => {
                Self::new(Kind::SecondFactorNotEnabled, sentence(&refusal))
            }
            UserRefusal::WrongRecoveryCode => Self::new(Kind::WrongCredentials, sentence(&refusal)),
            UserRefusal::AlreadyRegistered => repeated(refusal),
        }
    }
}

impl From<RoleRefusal> for Problem {
    fn from(refusal: RoleRefusal) -> Self {
        Self::new(Kind::RoleForbids, sentence(&refusal))
    }
}

impl From<SessionRefusal> for Problem {
    fn from(refusal: SessionRefusal) -> Self {
        match refusal {
            SessionRefusal::HasEnded => Self::new(Kind::RefreshTokenRefused, sentence(&refusal)),
            SessionRefusal::AlreadyOpen => repeated(refusal),
        }
    }
}

impl From<InviteRefusal> for Problem {
    fn from(refusal: InviteRefusal) -> Self {
        match refusal {
            InviteRefusal::OwnerCannotBeInvited => {
                Self::invalid(FieldErrors::of("role", refusal.to_string()))
            }
            InviteRefusal::AdminNeedsOwner => Self::new(Kind::RoleForbids, sentence(&refusal)),
            InviteRefusal::NotIssued => Self::new(Kind::NotFound, sentence(&refusal)),
            InviteRefusal::IsUsed => Self::new(Kind::InviteUsed, sentence(&refusal)),
            InviteRefusal::HasExpired => Self::new(Kind::InviteExpired, sentence(&refusal)),
            InviteRefusal::AlreadyIssued => repeated(refusal),
        }
    }
}

impl From<ApiKeyRefusal> for Problem {
    fn from(refusal: ApiKeyRefusal) -> Self {
        match refusal {
            ApiKeyRefusal::NotActive => Self::new(Kind::NotFound, sentence(&refusal)),
            ApiKeyRefusal::AlreadyIssued => repeated(refusal),
        }
    }
}

impl From<PortalLinkRefusal> for Problem {
    fn from(refusal: PortalLinkRefusal) -> Self {
        match refusal {
            PortalLinkRefusal::NotActive => Self::new(Kind::NotFound, sentence(&refusal)),
            PortalLinkRefusal::InvalidExpiry => {
                Self::invalid(FieldErrors::of("expiresInSeconds", "must be at most 7776000"))
            }
            PortalLinkRefusal::AlreadyCreated => repeated(refusal),
        }
    }
}

impl From<AccessRefusal> for Problem {
    fn from(refusal: AccessRefusal) -> Self {
        match refusal {
            AccessRefusal::NotForPortalLinks => Self::new(Kind::PortalLinkForbids, sentence(&refusal)),
        }
    }
}

impl From<DestinationRefusal> for Problem {
    fn from(refusal: DestinationRefusal) -> Self {
        match refusal {
            DestinationRefusal::NotRegistered => Self::not_found("destination"),
            DestinationRefusal::AlreadyRegistered => repeated(refusal),
        }
    }
}

impl From<ErasureRefusal> for Problem {
    fn from(refusal: ErasureRefusal) -> Self {
        match refusal {
            ErasureRefusal::NotRequested => Self::not_found("erasure"),
            ErasureRefusal::AlreadyRequested => repeated(refusal),
        }
    }
}

impl From<BulkActionRefusal> for Problem {
    fn from(refusal: BulkActionRefusal) -> Self {
        match refusal {
            BulkActionRefusal::NotRequested => Self::not_found("bulk action"),
            BulkActionRefusal::HasEnded => Self::new(Kind::BulkActionEnded, sentence(&refusal)),
            BulkActionRefusal::AlreadyRequested | BulkActionRefusal::IsPaused => repeated(refusal),
        }
    }
}

impl From<SenderRefusal> for Problem {
    fn from(refusal: SenderRefusal) -> Self {
        match refusal {
            SenderRefusal::NotRegistered => Self::not_found("sender"),
            SenderRefusal::MappingIsSet => Self::new(Kind::MappingAlreadySet, sentence(&refusal)),
            SenderRefusal::AlreadyRegistered => repeated(refusal),
        }
    }
}

impl From<WebhookEventRefusal> for Problem {
    fn from(refusal: WebhookEventRefusal) -> Self {
        match refusal {
            WebhookEventRefusal::NotAccepted => Self::not_found("event"),
            WebhookEventRefusal::NotInCriticalFailure | WebhookEventRefusal::PayloadIsErased => {
                Self::new(Kind::EventNotReplayable, sentence(&refusal))
            }
            WebhookEventRefusal::NotWaiting | WebhookEventRefusal::AttemptInProgress => {
                Self::new(Kind::EventNotCancellable, sentence(&refusal))
            }
            WebhookEventRefusal::AlreadyAccepted | WebhookEventRefusal::NoAttemptInProgress => {
                repeated(refusal)
            }
        }
    }
}

// A reservation is refused without saying what was to be reserved; only its caller knows that.
impl Problem {
    /// Returns the problem that the name of a tenant is in use.
    #[must_use]
    pub fn name_taken(name: &str) -> Self {
        Self::new(Kind::NameTaken, format!("Tenant name '{name}' is already in use."))
    }

    /// Returns the problem that the email address of a user is in use.
    #[must_use]
    pub fn email_taken(email: &Email) -> Self {
        Self::new(Kind::EmailTaken, format!("Email '{email}' is already in use."))
    }
}

impl From<LoadFailure> for Problem {
    fn from(failure: LoadFailure) -> Self {
        Self::internal(failure)
    }
}

impl From<AppendFailure> for Problem {
    fn from(failure: AppendFailure) -> Self {
        match failure {
            AppendFailure::Conflict => {
                Self::new(Kind::Conflict, "The resource is being changed concurrently. Try again.")
            }
            AppendFailure::Database(_) => Self::unavailable(failure),
            AppendFailure::Unwritable(_) => Self::internal(failure),
        }
    }
}

impl From<BulkActionFailure> for Problem {
    fn from(failure: BulkActionFailure) -> Self {
        match failure {
            BulkActionFailure::TooMany => Self::new(Kind::TenantLimit, sentence(&failure)),
            BulkActionFailure::Refused(refusal) => refusal.into(),
            BulkActionFailure::Unreadable(_) => Self::internal(failure),
            BulkActionFailure::Append(failure) => failure.into(),
        }
    }
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl<R> From<CommandFailure<R>> for Problem
where
    R: std::error::Error + 'static + Into<Problem>,
{
    fn from(failure: CommandFailure<R>) -> Self {
        match failure {
            CommandFailure::Refused(refusal) => refusal.into(),
            CommandFailure::Load(failure) => failure.into(),
            CommandFailure::Append(failure) => failure.into(),
        }
    }
}

impl From<CommitFailure> for Problem {
    fn from(failure: CommitFailure) -> Self {
        match failure {
            // Logged once when it began, and not for every request.
            CommitFailure::Away => Self::database_away(),
            CommitFailure::Database(_) | CommitFailure::Closed => Self::unavailable(failure),
        }
    }
}

impl From<CurrentSessionFailure> for Problem {
    fn from(failure: CurrentSessionFailure) -> Self {
        match failure {
            CurrentSessionFailure::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl Problem {
    /// Returns the problem that it is unknown which event an idempotency key belongs to.
    pub(crate) fn idempotency_keys_unavailable(failure: VaultFailure) -> Self {
        match failure {
            VaultFailure::Database(error) => error.into(),
            other => Self {
                detail: "Idempotency keys of the tenant cannot be recognised, because its data key cannot be read. The \
                         operator must restore it. Webhooks without an idempotency key are accepted."
                    .into(),
                ..Self::unavailable(other)
            },
        }
    }
}

impl From<VaultFailure> for Problem {
    fn from(failure: VaultFailure) -> Self {
        match failure {
            VaultFailure::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<PasswordFailure> for Problem {
    fn from(failure: PasswordFailure) -> Self {
        match failure {
            PasswordFailure::QueueFull(full) => full.into(),
            other => Self::internal(other),
        }
    }
}

impl From<QueueFull> for Problem {
    fn from(full: QueueFull) -> Self {
        match full {
            QueueFull::InTotal(_) => Self::overloaded(sentence(&full)),
            QueueFull::ForRequester(_) => Self::share_used(sentence(&full)),
        }
    }
}

/// SQLSTATE of a statement that has exceeded the timeout of its session (PostgreSQL manual, appendix A).
const QUERY_CANCELED: &str = "57014";

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Tls(_) => Self::unavailable(error),
            sqlx::Error::Database(ref answer) if database::is_passing(&**answer) => Self::unavailable(error),
            sqlx::Error::Database(ref failure)
                if failure.code().is_some_and(|code| code == QUERY_CANCELED) =>
            {
                metrics::counter!("hooksentry_http_refused_total", "limit" => "list_timeout").increment(1);
                Self::overloaded(
                    "The query took too long: a list may take HOOKSENTRY_LIST_TIMEOUT. Narrow it: filter by destination, \
                     status or a short period, or keep the default order."
                        .to_owned(),
                )
            }
            _ => Self::internal(error),
        }
    }
}

impl From<serde_json::Error> for Problem {
    /// Concerns only JSON that this program writes; `body.rs` handles JSON that clients send.
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

/// Maps a refusal that cannot occur because this program generates the ids.
fn repeated(refusal: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::internal(refusal)
}

fn sentence(refusal: &impl std::error::Error) -> String {
    let text = refusal.to_string();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// Error of the server with this SQLSTATE.
    #[derive(Debug)]
    struct Answer(&'static str);

    impl fmt::Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Answer {}

    impl DatabaseError for Answer {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn a_server_that_stops_starts_or_fails_over_is_unavailable() {
        let unavailable = ["57P01", "57P02", "57P03", "08006", "25006", "53300"].map(|code| (code, true));
        let internal = ["42P01", "23505", "22001"].map(|code| (code, false));
        for (code, is_unavailable) in unavailable.into_iter().chain(internal) {
            let problem = Problem::from(sqlx::Error::Database(Box::new(Answer(code))));
            let status = problem.into_response().status();
            assert_eq!(status == StatusCode::SERVICE_UNAVAILABLE, is_unavailable, "{code}: {status}");
        }
    }
}
