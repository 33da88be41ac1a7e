//! Ids, each of its own type, so that one cannot stand where another is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// A tenant: one account on the platform.
    TenantId
);
id!(
    /// A person who belongs to a tenant.
    UserId
);
id!(
    /// One login, from its password to its logout.
    SessionId
);
id!(
    /// An invitation to a tenant.
    InviteId
);
id!(
    /// A key that services present to the ingest endpoint.
    ApiKeyId
);
id!(
    /// Where webhook events are delivered.
    DestinationId
);
id!(
    /// A named source of a destination.
    SenderId
);
id!(
    /// One accepted webhook.
    WebhookEventId
);

/// Namespace of the derived ids below. Stored ids depend on it: it never changes.
const IDEMPOTENCY_NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_2a4e_8c1b_5f3a_9e7d_4b21_c0a8_f517);

impl WebhookEventId {
    /// The id of the webhook event that carries `idempotency_key`: a UUIDv5 of tenant and key
    /// (RFC 9562, section 5.5), so that the log's primary key makes twins impossible.
    #[must_use]
    pub fn for_idempotency_key(tenant: TenantId, idempotency_key: &str) -> Self {
        let namespace = Uuid::new_v5(&IDEMPOTENCY_NAMESPACE, tenant.0.as_bytes());
        Self(Uuid::new_v5(&namespace, idempotency_key.as_bytes()))
    }
}
