//! What a fact means to somebody who watches.

use aggregates::api_key::ApiKeyFact;
use aggregates::destination::DestinationFact;
use aggregates::fact::Fact;
use aggregates::ids::SessionId;
use aggregates::role::UserStatus;
use aggregates::sender::SenderFact;
use aggregates::session::SessionFact;
use aggregates::tenant::TenantFact;
use aggregates::user::UserFact;
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use projections::{LogPosition, LoggedFact, destinations, webhook_events};
use uuid::Uuid;

/// A change of something that the API shows. It says what to look at again, and no more: whoever may see
/// the thing asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed in which way, such as `event.created`: one of [`Change::NAMES`].
    pub name: &'static str,
    /// Id of the thing.
    pub id: Uuid,
    /// Its status since then, where the fact decides it.
    pub status: Option<&'static str>,
    /// The fact, such as `EventAccepted`.
    pub fact: String,
    /// When it was recorded.
    pub at: DateTime<Utc>,
}

/// What a fact sets off, at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) position: LogPosition,
    pub(super) news: News,
}

/// What there is to say of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// To everybody of the tenant.
    Changed(Change),
    /// To whoever listens in this session: it is over.
    SessionClosed(SessionId),
}

impl Change {
    /// Every name.
    pub const NAMES: [&'static str; 13] = [
        "event.created",
        "event.updated",
        "destination.created",
        "destination.updated",
        "sender.created",
        "sender.updated",
        "sender.deleted",
        "apikey.created",
        "apikey.deleted",
        "user.created",
        "user.updated",
        "user.deleted",
        "tenant.updated",
    ];
}

impl Notice {
    /// What `logged` sets off, if anything.
    pub(super) fn of(logged: &LoggedFact) -> Option<Self> {
        let (name, status) = match &logged.fact {
            Fact::Session(fact) => return Self::of_session(logged, fact),
            Fact::WebhookEvent(fact) => of_event(fact),
            Fact::Destination(fact) => of_destination(fact),
            Fact::Sender(fact) => of_sender(fact),
            Fact::ApiKey(fact) => of_api_key(fact),
            Fact::User(fact) => of_user(fact)?,
            Fact::Tenant(fact) => of_tenant(fact)?,
            // Invites carry a secret and concern those who manage users; claims concern nobody.
            Fact::Invite(_) | Fact::Reservation(_) => return None,
        };
        let change = Change {
            name,
            id: logged.stream_id,
            status,
            fact: logged.fact.event_type(),
            at: logged.recorded_at,
        };
        Some(Self { position: logged.position, news: News::Changed(change) })
    }

    fn of_session(logged: &LoggedFact, fact: &SessionFact) -> Option<Self> {
        let SessionFact::LoggedOut { .. } = fact else { return None };
        let news = News::SessionClosed(SessionId(logged.stream_id));
        Some(Self { position: logged.position, news })
    }
}

type NameAndStatus = (&'static str, Option<&'static str>);

fn of_event(fact: &WebhookEventFact) -> NameAndStatus {
    use WebhookEventFact as Fact;
    use webhook_events::Status;
    let status = match fact {
        Fact::EventAccepted(_) => return ("event.created", Some(Status::Pending.name())),
        Fact::DeliveryStarted { .. } => Some(Status::Processing),
        Fact::DeliveryAttempted { report, .. } if report.outcome.is_success() => Some(Status::Succeeded),
        Fact::DeliveryAttempted { .. } => Some(Status::Failed),
        Fact::RetryScheduled { .. } => Some(Status::WaitingRetry),
        Fact::CriticalFailure { .. } => Some(Status::CriticalFailure),
        Fact::Replayed { .. } => Some(Status::Pending),
        Fact::Cancelled { .. } => Some(Status::Cancelled),
        Fact::PayloadErased { .. } => None,
    };
    ("event.updated", status.map(Status::name))
}

fn of_destination(fact: &DestinationFact) -> NameAndStatus {
    use DestinationFact as Fact;
    use destinations::Status;
    let status = match fact {
        Fact::DestinationRegistered { .. } => return ("destination.created", Some(Status::Active.name())),
        Fact::DestinationActivated { .. } | Fact::DestinationResumed { .. } => Some(Status::Active),
        // To callers, one that is being probed is active.
        Fact::DestinationProbed { .. } => Some(Status::Active),
        Fact::DestinationDeactivated { .. } => Some(Status::Inactive),
        Fact::DestinationSuspended { .. } => Some(Status::Suspended),
        Fact::DestinationUrlChanged { .. }
        | Fact::ConcurrencyLimitChanged { .. }
        | Fact::OutboundAuthConfigured { .. }
        | Fact::OutboundAuthRemoved { .. }
        | Fact::IngestTokenRegenerated { .. } => None,
    };
    ("destination.updated", status.map(Status::name))
}

fn of_sender(fact: &SenderFact) -> NameAndStatus {
    match fact {
        SenderFact::SenderRegistered { .. } => ("sender.created", None),
        SenderFact::SenderIngestTokenRegenerated { .. }
        | SenderFact::MappingSet { .. }
        | SenderFact::MappingRemoved { .. } => ("sender.updated", None),
        SenderFact::SenderDeleted { .. } => ("sender.deleted", None),
    }
}

fn of_api_key(fact: &ApiKeyFact) -> NameAndStatus {
    match fact {
        ApiKeyFact::ApiKeyIssued { .. } => ("apikey.created", None),
        ApiKeyFact::ApiKeyRevoked { .. } => ("apikey.deleted", None),
    }
}

fn of_user(fact: &UserFact) -> Option<NameAndStatus> {
    let status = match fact {
        UserFact::UserRegistered { .. } => return Some(("user.created", Some(UserStatus::Active.name()))),
        UserFact::UserDeleted { .. } => return Some(("user.deleted", None)),
        UserFact::UserActivated { .. } => Some(UserStatus::Active),
        UserFact::UserDeactivated { .. } => Some(UserStatus::Inactive),
        UserFact::EmailChanged { .. } | UserFact::PasswordChanged { .. } | UserFact::RoleChanged { .. } => {
            None
        }
        // Of interest to auditors, and a change of nothing that is shown.
        UserFact::LoginRefused { .. } => return None,
    };
    Some(("user.updated", status.map(UserStatus::name)))
}

fn of_tenant(fact: &TenantFact) -> Option<NameAndStatus> {
    match fact {
        TenantFact::TenantRenamed { .. }
        | TenantFact::ResilienceChanged { .. }
        | TenantFact::RetentionChanged { .. }
        | TenantFact::WebhookSecretRegenerated { .. } => Some(("tenant.updated", None)),
        // Nobody can listen before it exists; who owns it is told of its users.
        TenantFact::TenantRegistered { .. }
        | TenantFact::OwnerAppointed { .. }
        | TenantFact::OwnerDismissed { .. } => None,
    }
}
