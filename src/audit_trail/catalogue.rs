//! Types of facts: what each says in words, and which of its fields the audit trail shows.

use cqrs_es::Aggregate;

use aggregates::access::Access;
use aggregates::api_key::ApiKey;
use aggregates::bulk_action::BulkAction;
use aggregates::destination::Destination;
use aggregates::erasure::Erasure;
use aggregates::installation::Installation;
use aggregates::invite::Invite;
use aggregates::legal_hold::LegalHold;
use aggregates::portal_link::PortalLink;
use aggregates::reservation::Reservation;
use aggregates::sender::Sender;
use aggregates::session::Session;
use aggregates::tenant::Tenant;
use aggregates::user::User;
use aggregates::webhook_event::WebhookEvent;

/// Type of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactType {
    pub aggregate: &'static str,
    /// Name of the fact, which no other aggregate has.
    pub name: &'static str,
    /// Plain sentence.
    pub words: &'static str,
    pub about: About,
    /// Whether it is of the delivery of a single webhook.
    pub of_delivery: bool,
    /// Fields that later facts of the stream can change, as paths with dots. The last part of a path names the setting.
    pub settings: &'static [&'static str],
    /// Other fields that are shown.
    pub details: &'static [&'static str],
}

/// What facts of a type are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// What the stream is of.
    Stream,
    /// The webhook event with the id of the stream.
    Event,
    Tenant,
    /// The tenant or destination with the id of the stream; the field `subject` says which.
    Held,
}

impl About {
    /// Returns the aggregates whose streams have the ids of the subjects of `aggregate`, and their facts are about these.
    pub(super) fn streams_of(aggregate: &'static str) -> Vec<&'static str> {
        match aggregate {
            WebhookEvent::TYPE => vec![aggregate, Access::TYPE],
            Destination::TYPE | Tenant::TYPE => vec![aggregate, LegalHold::TYPE],
            _ => vec![aggregate],
        }
    }
}

const fn fact(aggregate: &'static str, name: &'static str, words: &'static str) -> FactType {
    FactType { aggregate, name, words, about: About::Stream, of_delivery: false, settings: &[], details: &[] }
}

impl FactType {
    const fn settings(self, settings: &'static [&'static str]) -> Self {
        Self { settings, ..self }
    }

    const fn details(self, details: &'static [&'static str]) -> Self {
        Self { details, ..self }
    }

    const fn about(self, about: About) -> Self {
        Self { about, ..self }
    }

    const fn of_delivery(self) -> Self {
        Self { of_delivery: true, ..self }
    }

    /// Returns the type of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        FACT_TYPES.iter().find(|fact| fact.name == name)
    }

    /// Returns the names of the facts of the same aggregate that have the setting at this path.
    pub(super) fn that_set(&self, path: &str) -> Vec<&'static str> {
        let sets = |fact: &&Self| fact.aggregate == self.aggregate && fact.settings.contains(&path);
        FACT_TYPES.iter().filter(sets).map(|fact| fact.name).collect()
    }
}

/// Every type of fact.
pub const FACT_TYPES: &[FactType] = &[
    fact(Tenant::TYPE, "TenantRegistered", "The tenant was registered.")
        .settings(&["name", "resilience", "retention"])
        .details(&["owner"]),
    fact(Tenant::TYPE, "TenantRenamed", "The tenant was renamed.").settings(&["name"]),
    fact(Tenant::TYPE, "ResilienceChanged", "The retry policy of deliveries was changed.")
        .settings(&["resilience"]),
    fact(Tenant::TYPE, "RetentionChanged", "The retention of payloads and events was changed.")
        .settings(&["retention"]),
    fact(Tenant::TYPE, "WebhookSecretRegenerated", "The webhook secret was replaced.")
        .details(&["previousSignsUntil"]),
    fact(Tenant::TYPE, "OwnerAppointed", "A user became an owner of the tenant.").details(&["userId"]),
    fact(Tenant::TYPE, "OwnerDismissed", "A user ceased to be an owner of the tenant.").details(&["userId"]),
    fact(Tenant::TYPE, "TenantSuspended", "The operator suspended the tenant.").details(&["reason"]),
    fact(Tenant::TYPE, "TenantResumed", "The operator resumed the tenant."),
    fact(User::TYPE, "UserRegistered", "A user was created.").settings(&["role"]),
    fact(User::TYPE, "EmailChanged", "The email address of a user was changed."),
    fact(User::TYPE, "PasswordChanged", "The password of a user was changed."),
    fact(User::TYPE, "RoleChanged", "The role of a user was changed.").settings(&["role"]),
    fact(User::TYPE, "UserDeactivated", "A user was deactivated."),
    fact(User::TYPE, "UserActivated", "A user was activated."),
    fact(User::TYPE, "UserDeleted", "A user was deleted."),
    fact(User::TYPE, "PersonalDataErased", "The personal data of a deleted user was erased.")
        .details(&["reason"]),
    fact(User::TYPE, "LoginRefused", "Logins were refused. It is recorded once within an hour."),
    fact(User::TYPE, "SecondFactorBegun", "The enrolment of a second factor began."),
    fact(User::TYPE, "SecondFactorEnabled", "A second factor was enabled."),
    fact(User::TYPE, "RecoveryCodesReplaced", "The recovery codes were replaced."),
    fact(User::TYPE, "RecoveryCodeUsed", "A recovery code was used."),
    fact(User::TYPE, "SecondFactorDisabled", "A second factor was disabled."),
    fact(Session::TYPE, "LoggedIn", "A user logged in.").details(&["userId"]),
    fact(Session::TYPE, "SessionRefreshed", "The tokens of a session were replaced."),
    fact(Session::TYPE, "LoggedOut", "A session ended.").details(&["closing"]),
    fact(Invite::TYPE, "InviteIssued", "An invite was issued.").details(&["targetRole", "expiresAt"]),
    fact(Invite::TYPE, "InviteAccepted", "A user registered with an invite.").details(&["userId"]),
    fact(Invite::TYPE, "InviteRevoked", "An invite was revoked."),
    fact(ApiKey::TYPE, "ApiKeyIssued", "An API key was issued.").details(&["name"]),
    fact(ApiKey::TYPE, "ApiKeyRevoked", "An API key was revoked."),
    fact(PortalLink::TYPE, "PortalLinkCreated", "A portal link was created.").details(&[
        "label",
        "destinationId",
        "access",
        "expiresAt",
    ]),
    fact(PortalLink::TYPE, "PortalLinkRevoked", "A portal link was revoked."),
    fact(Destination::TYPE, "DestinationRegistered", "A destination was created.")
        .settings(&["url", "concurrencyLimit"]),
    fact(Destination::TYPE, "DestinationUrlChanged", "The URL of a destination was changed.")
        .settings(&["url"]),
    fact(Destination::TYPE, "ConcurrencyLimitChanged", "The limit of concurrent requests was changed.")
        .settings(&["concurrencyLimit"]),
    fact(Destination::TYPE, "OutboundAuthConfigured", "The authentication at a destination was configured.")
        .settings(&["auth.authType"]),
    fact(Destination::TYPE, "OutboundAuthRemoved", "The authentication at a destination was removed.")
        .settings(&["auth.authType"]),
    fact(Destination::TYPE, "DestinationActivated", "A destination was activated."),
    fact(Destination::TYPE, "DestinationDeactivated", "A destination was deactivated."),
    fact(Destination::TYPE, "DestinationSuspended", "The circuit breaker of a destination opened.")
        .details(&["consecutiveFailures", "nextCheckAt"]),
    fact(Destination::TYPE, "DestinationProbed", "The circuit breaker of a destination was half opened."),
    fact(Destination::TYPE, "DestinationResumed", "The circuit breaker of a destination closed."),
    fact(Destination::TYPE, "IngestTokenRegenerated", "The ingest token of a destination was replaced."),
    fact(Sender::TYPE, "SenderRegistered", "A sender was created.").details(&["destinationId", "label"]),
    fact(Sender::TYPE, "SenderIngestTokenRegenerated", "The ingest token of a sender was replaced."),
    fact(Sender::TYPE, "MappingSet", "The mapping of a sender was set.").settings(&["mapping"]),
    fact(Sender::TYPE, "MappingRemoved", "The mapping of a sender was removed.").settings(&["mapping"]),
    fact(Sender::TYPE, "SenderDeleted", "A sender was deleted."),
    fact(WebhookEvent::TYPE, "EventAccepted", "A webhook was accepted.")
        .details(&["destinationId", "senderId", "payload.bytes"])
        .of_delivery(),
    fact(WebhookEvent::TYPE, "DeliveryStarted", "An attempt of a delivery started.")
        .details(&["destinationId", "attempt", "worker", "destinationVersion", "tenantVersion"])
        .of_delivery(),
    fact(WebhookEvent::TYPE, "DeliveryAttempted", "An attempt of a delivery ended.")
        .details(&[
            "destinationId",
            "attempt",
            "failedAttempts",
            "report.outcome",
            "report.status",
            "report.durationMs",
        ])
        .of_delivery(),
    fact(WebhookEvent::TYPE, "RetryScheduled", "Another attempt of a delivery was scheduled.")
        .details(&["destinationId", "failedAttempts", "retryAt"])
        .of_delivery(),
    fact(WebhookEvent::TYPE, "CriticalFailure", "A delivery was given up.")
        .details(&["destinationId", "failedAttempts"])
        .of_delivery(),
    fact(WebhookEvent::TYPE, "Replayed", "An event was replayed.").details(&["destinationId", "attempts"]),
    fact(WebhookEvent::TYPE, "Cancelled", "The delivery of an event was cancelled.")
        .details(&["destinationId", "reason"]),
    fact(WebhookEvent::TYPE, "PayloadErased", "The payload of an event was erased.")
        .details(&["reason", "requestedBy"]),
    fact(
        LegalHold::TYPE,
        "LegalHoldPlaced",
        "A legal hold was placed: nothing is erased until it is lifted.",
    )
    .about(About::Held)
    .details(&["reason"]),
    fact(LegalHold::TYPE, "LegalHoldLifted", "A legal hold was lifted.")
        .about(About::Held)
        .details(&["reason"]),
    fact(Erasure::TYPE, "ErasureRequested", "An erasure of the payloads of many events was requested.")
        .details(&["reason"]),
    fact(Erasure::TYPE, "ErasureCompleted", "An erasure of the payloads of many events was completed."),
    fact(
        BulkAction::TYPE,
        "BulkActionRequested",
        "The replay or cancellation of all events that match a filter was requested.",
    )
    .details(&["action", "filter", "ratePerSecond", "events"]),
    fact(BulkAction::TYPE, "BulkActionPaused", "A bulk action was paused."),
    fact(BulkAction::TYPE, "BulkActionResumed", "A bulk action was resumed."),
    fact(BulkAction::TYPE, "BulkActionCancelled", "A bulk action was cancelled before its end.")
        .details(&["counts.done", "counts.refused"]),
    fact(BulkAction::TYPE, "BulkActionCompleted", "A bulk action was completed.")
        .details(&["counts.done", "counts.refused"]),
    fact(Access::TYPE, "PayloadRead", "The payload of an event was read.").about(About::Event),
    fact(Access::TYPE, "PayloadsListed", "Payloads were read in a list of events.")
        .about(About::Tenant)
        .details(&["destinationId"]),
    fact(Access::TYPE, "PortalPayloadRead", "The payload of an event was read through a portal link.")
        .about(About::Event),
    fact(
        Access::TYPE,
        "PortalPayloadsListed",
        "Payloads were read in a list of events through a portal link.",
    )
    .about(About::Tenant)
    .details(&["destinationId"]),
    fact(Access::TYPE, "WebhookSecretRead", "The webhook secret was read.").about(About::Tenant),
    fact(Access::TYPE, "AuditExported", "The audit trail was exported.")
        .about(About::Tenant)
        .details(&["format", "filter"]),
    fact(Reservation::TYPE, "ReservationMade", "A name or an email address was reserved.")
        .details(&["holder"]),
    fact(Reservation::TYPE, "ReservationReleased", "A reserved name or email address became available.")
        .details(&["holder"]),
    fact(Installation::TYPE, "LogRestored", "The log was restored from a backup.").details(&["era"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aggregates::Facts;
    use aggregates::fact::Fact;

    use super::*;

    fn names<A: Aggregate<Event: Facts>>() -> impl Iterator<Item = (&'static str, &'static str)> {
        A::Event::NAMES.iter().map(|name| (A::TYPE, *name))
    }

    #[test]
    fn every_fact_of_the_domain_is_in_the_catalogue_once() {
        let domain: Vec<_> = names::<Access>()
            .chain(names::<ApiKey>())
            .chain(names::<Reservation>())
            .chain(names::<Destination>())
            .chain(names::<Installation>())
            .chain(names::<BulkAction>())
            .chain(names::<Erasure>())
            .chain(names::<Invite>())
            .chain(names::<LegalHold>())
            .chain(names::<PortalLink>())
            .chain(names::<Sender>())
            .chain(names::<Session>())
            .chain(names::<Tenant>())
            .chain(names::<User>())
            .chain(names::<WebhookEvent>())
            .collect();
        let aggregates: BTreeSet<_> = domain.iter().map(|(aggregate, _)| *aggregate).collect();
        assert_eq!(aggregates, BTreeSet::from(Fact::AGGREGATES), "an aggregate is missing in this test");
        let catalogue: BTreeSet<_> = FACT_TYPES.iter().map(|fact| (fact.aggregate, fact.name)).collect();
        assert_eq!(catalogue, domain.into_iter().collect());
        let names: BTreeSet<_> = FACT_TYPES.iter().map(|fact| fact.name).collect();
        assert_eq!(names.len(), FACT_TYPES.len(), "a name is used twice");
    }

    /// What it was before is looked up by one path.
    #[test]
    fn a_fact_that_is_not_the_first_of_its_stream_changes_one_setting_at_most() {
        for fact in FACT_TYPES {
            assert!(fact.settings.len() <= 1 || fact.name.ends_with("Registered"), "{}", fact.name);
        }
    }
}
