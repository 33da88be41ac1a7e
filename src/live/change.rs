//! Changes that subscribers are notified of, and how they follow from facts.

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
use projections::webhook_events::EventStatus;
use projections::{LogPosition, LoggedFact};
use uuid::Uuid;

/// Change of a resource. It identifies the resource and contains no other data of it: a client that may read the
/// resource requests it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Kind of resource and of change, such as `event.created`: one of [`Change::NAMES`].
    pub name: &'static str,
    /// Id of the resource.
    pub id: Uuid,
    /// Status of the resource after the change; `None` if the fact does not determine it.
    pub status: Option<&'static str>,
    /// Type of the fact, such as `EventAccepted`.
    pub fact: String,
    /// Time at which the fact was recorded.
    pub at: DateTime<Utc>,
}

/// Notification that follows from a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    /// Position of the fact in the log.
    pub(super) position: LogPosition,
    pub(super) content: NotificationContent,
}

/// Content of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotificationContent {
    /// For all subscribers of the tenant.
    Changed(Change),
    /// For the subscribers of this session.
    SessionClosed(SessionId),
    /// For all subscribers of the tenant, whose sessions are not valid while it is suspended.
    TenantSuspended,
}

impl Change {
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

impl Notification {
    /// Returns the notification that follows from a fact, if any.
    pub(super) fn of(logged: &LoggedFact) -> Option<Self> {
        let (name, status) = match &logged.fact {
            Fact::Session(fact) => return Self::of_session(logged, fact),
            Fact::WebhookEvent(fact) => of_event(fact),
            Fact::Destination(fact) => of_destination(fact),
            Fact::Sender(fact) => of_sender(fact),
            Fact::ApiKey(fact) => of_api_key(fact),
            Fact::User(fact) => of_user(fact)?,
            Fact::Tenant(TenantFact::TenantSuspended { .. }) => {
                let content = NotificationContent::TenantSuspended;
                return Some(Self { position: logged.position, content });
            }
            Fact::Tenant(fact) => of_tenant(fact)?,
            // Invites contain a secret and concern only users who manage users. The others are internal.
            Fact::Invite(_)
            | Fact::Access(_)
            | Fact::BulkAction(_)
            | Fact::Erasure(_)
            | Fact::Reservation(_)
            | Fact::Installation(_)
            | Fact::LegalHold(_)
            | Fact::PortalLink(_) => return None,
        };
        let change = Change {
            name,
            id: logged.stream_id,
            status,
            fact: logged.fact.event_type(),
            at: logged.recorded_at,
        };
        Some(Self { position: logged.position, content: NotificationContent::Changed(change) })
    }

    fn of_session(logged: &LoggedFact, fact: &SessionFact) -> Option<Self> {
        let SessionFact::LoggedOut { .. } = fact else { return None };
        let content = NotificationContent::SessionClosed(SessionId(logged.stream_id));
        Some(Self { position: logged.position, content })
    }
}

type NameAndStatus = (&'static str, Option<&'static str>);

fn of_event(fact: &WebhookEventFact) -> NameAndStatus {
    let name = match fact {
        WebhookEventFact::EventAccepted(_) => "event.created",
        _ => "event.updated",
    };
    (name, EventStatus::after(fact).map(EventStatus::name))
}

fn of_destination(fact: &DestinationFact) -> NameAndStatus {
    use DestinationFact as Fact;
    use projections::destinations::DestinationStatus as Status;
    let status = match fact {
        Fact::DestinationRegistered { .. } => return ("destination.created", Some(Status::Active.name())),
        Fact::DestinationActivated { .. } | Fact::DestinationResumed { .. } => Some(Status::Active),
        // A destination that is being probed is shown as active.
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
        UserFact::EmailChanged { .. }
        | UserFact::PasswordChanged { .. }
        | UserFact::RoleChanged { .. }
        | UserFact::SecondFactorEnabled { .. }
        | UserFact::SecondFactorDisabled { .. } => None,
        // Change nothing that the API shows.
        UserFact::PersonalDataErased { .. }
        | UserFact::LoginRefused { .. }
        | UserFact::SecondFactorBegun { .. }
        | UserFact::RecoveryCodesReplaced { .. }
        | UserFact::RecoveryCodeUsed { .. } => return None,
    };
    Some(("user.updated", status.map(UserStatus::name)))
}

fn of_tenant(fact: &TenantFact) -> Option<NameAndStatus> {
    match fact {
        TenantFact::TenantRenamed { .. }
        | TenantFact::ResilienceChanged { .. }
        | TenantFact::RetentionChanged { .. }
        | TenantFact::WebhookSecretRegenerated { .. } => Some(("tenant.updated", None)),
        // A tenant has no subscribers before it exists, nor while it is suspended. Ownership is shown at the users.
        TenantFact::TenantRegistered { .. }
        | TenantFact::TenantSuspended { .. }
        | TenantFact::TenantResumed { .. }
        | TenantFact::OwnerAppointed { .. }
        | TenantFact::OwnerDismissed { .. } => None,
    }
}
