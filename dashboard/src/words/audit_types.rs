//! Types of facts, which a search of the audit trail can select.

/// Types of facts, in the order in which a filter offers them.
pub const AUDIT_TYPES: &[&str] = &[
    "TenantRegistered",
    "TenantRenamed",
    "ResilienceChanged",
    "RetentionChanged",
    "WebhookSecretRegenerated",
    "OwnerAppointed",
    "OwnerDismissed",
    "TenantSuspended",
    "TenantResumed",
    "UserRegistered",
    "EmailChanged",
    "PasswordChanged",
    "RoleChanged",
    "UserDeactivated",
    "UserActivated",
    "UserDeleted",
    "PersonalDataErased",
    "LoginRefused",
    "SecondFactorBegun",
    "SecondFactorEnabled",
    "RecoveryCodesReplaced",
    "RecoveryCodeUsed",
    "SecondFactorDisabled",
    "LoggedIn",
    "SessionRefreshed",
    "LoggedOut",
    "InviteIssued",
    "InviteAccepted",
    "InviteRevoked",
    "ApiKeyIssued",
    "ApiKeyRevoked",
    "PortalLinkCreated",
    "PortalLinkRevoked",
    "DestinationRegistered",
    "DestinationUrlChanged",
    "ConcurrencyLimitChanged",
    "OutboundAuthConfigured",
    "OutboundAuthRemoved",
    "DestinationActivated",
    "DestinationDeactivated",
    "DestinationSuspended",
    "DestinationProbed",
    "DestinationResumed",
    "IngestTokenRegenerated",
    "SenderRegistered",
    "SenderIngestTokenRegenerated",
    "MappingSet",
    "MappingRemoved",
    "SenderDeleted",
    "EventAccepted",
    "DeliveryStarted",
    "DeliveryAttempted",
    "RetryScheduled",
    "CriticalFailure",
    "Replayed",
    "Cancelled",
    "PayloadErased",
    "LegalHoldPlaced",
    "LegalHoldLifted",
    "ErasureRequested",
    "ErasureCompleted",
    "BulkActionRequested",
    "BulkActionPaused",
    "BulkActionResumed",
    "BulkActionCancelled",
    "BulkActionCompleted",
    "PayloadRead",
    "PayloadsListed",
    "PortalPayloadRead",
    "PortalPayloadsListed",
    "WebhookSecretRead",
    "AuditExported",
    "ReservationMade",
    "ReservationReleased",
    "LogRestored",
];

/// Returns a name of several words in camel case as words: `serverRateLimit` as "Server rate limit".
#[must_use]
pub fn spoken(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    for (at, character) in name.chars().enumerate() {
        match character {
            'A'..='Z' if at > 0 => {
                words.push(' ');
                words.push(character.to_ascii_lowercase());
            }
            'a'..='z' if at == 0 => words.push(character.to_ascii_uppercase()),
            other => words.push(other),
        }
    }
    words
}
