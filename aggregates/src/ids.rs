//! Typed ids, so that the id of one kind cannot be used for another.

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
    /// Id of a [`Tenant`](crate::tenant::Tenant).
    TenantId
);
id!(
    /// Id of a [`User`](crate::user::User).
    UserId
);
id!(
    /// Id of a [`Session`](crate::session::Session).
    SessionId
);
id!(
    /// Id of an [`Invite`](crate::invite::Invite).
    InviteId
);
id!(
    /// Id of an [`ApiKey`](crate::api_key::ApiKey).
    ApiKeyId
);
id!(
    /// Id of a [`PortalLink`](crate::portal_link::PortalLink).
    PortalLinkId
);
id!(
    /// Id of a [`Destination`](crate::destination::Destination).
    DestinationId
);
id!(
    /// Id of a [`Sender`](crate::sender::Sender).
    SenderId
);
id!(
    /// Id of a [`WebhookEvent`](crate::webhook_event::WebhookEvent).
    WebhookEventId
);

id!(
    /// Id of an [`Erasure`](crate::erasure::Erasure).
    ErasureId
);
id!(
    /// Id of a [`BulkAction`](crate::bulk_action::BulkAction).
    BulkActionId
);
