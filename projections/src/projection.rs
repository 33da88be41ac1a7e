//! The list of all projections.

use sqlx::PgConnection;

use crate::fold::ApplyFailure;
use crate::logged_fact::LoggedFact;
use crate::{
    api_keys, delivery_attempts, delivery_statistics, destinations, ingest_routes, invites, senders,
    sessions, tenants, users, webhook_events,
};

/// A read model that is folded from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// [`tenants`].
    Tenants,
    /// [`users`].
    Users,
    /// [`sessions`].
    Sessions,
    /// [`invites`].
    Invites,
    /// [`api_keys`].
    ApiKeys,
    /// [`destinations`].
    Destinations,
    /// [`senders`].
    Senders,
    /// [`ingest_routes`].
    IngestRoutes,
    /// [`webhook_events`].
    WebhookEvents,
    /// [`delivery_attempts`].
    DeliveryAttempts,
    /// [`delivery_statistics`].
    DeliveryStatistics,
}

impl Projection {
    /// Every projection.
    pub const ALL: [Self; 11] = [
        Self::Tenants,
        Self::Users,
        Self::Sessions,
        Self::Invites,
        Self::ApiKeys,
        Self::Destinations,
        Self::Senders,
        Self::IngestRoutes,
        Self::WebhookEvents,
        Self::DeliveryAttempts,
        Self::DeliveryStatistics,
    ];

    /// Its name, which is that of its checkpoint and of its first table. It is stored: it never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Users => "users",
            Self::Sessions => "sessions",
            Self::Invites => "invites",
            Self::ApiKeys => "api_keys",
            Self::Destinations => "destinations",
            Self::Senders => "senders",
            Self::IngestRoutes => "ingest_routes",
            Self::WebhookEvents => "webhook_events",
            Self::DeliveryAttempts => "delivery_attempts",
            Self::DeliveryStatistics => "delivery_statistics",
        }
    }

    /// The projection of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }

    /// Whether it folds facts of the aggregate of this name. What it does not fold it need not be able
    /// to read.
    #[must_use]
    pub fn folds(self, aggregate_type: &str) -> bool {
        match self {
            Self::Tenants => aggregate_type == "Tenant",
            Self::Users => aggregate_type == "User",
            Self::Sessions => aggregate_type == "Session",
            Self::Invites => aggregate_type == "Invite",
            Self::ApiKeys => aggregate_type == "ApiKey",
            Self::Destinations => aggregate_type == "Destination",
            Self::Senders => aggregate_type == "Sender",
            Self::IngestRoutes => matches!(aggregate_type, "Destination" | "Sender"),
            Self::WebhookEvents | Self::DeliveryAttempts | Self::DeliveryStatistics => {
                aggregate_type == "WebhookEvent"
            }
        }
    }

    /// The tables of its rows. They are its own: nothing else writes to them, and a new generation of them
    /// takes their place all at once.
    #[must_use]
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Tenants => &["tenants"],
            Self::Users => &["users"],
            Self::Sessions => &["sessions"],
            Self::Invites => &["invites"],
            Self::ApiKeys => &["api_keys"],
            Self::Destinations => &["destinations"],
            Self::Senders => &["senders"],
            Self::IngestRoutes => &["ingest_routes"],
            Self::WebhookEvents => &["webhook_events", "webhook_event_counts", "webhook_event_recounts"],
            Self::DeliveryAttempts => &["delivery_attempts"],
            Self::DeliveryStatistics => &["delivery_statistics"],
        }
    }

    /// What else it reads while it folds. Nothing but the log, and how far retention has come, may be among
    /// it: other read models may be elsewhere in the log, or be rebuilt.
    #[must_use]
    pub fn reads(self) -> &'static [&'static str] {
        match self {
            Self::WebhookEvents | Self::DeliveryAttempts => &["events", "retention_floors"],
            Self::DeliveryStatistics => &["events"],
            _ => &[],
        }
    }

    /// Folds `facts`, which follow one another in the log, into its rows. Facts folded before change
    /// nothing. What was written when it fails is to be rolled back.
    pub async fn apply(
        self,
        connection: &mut PgConnection,
        facts: &[LoggedFact],
    ) -> Result<(), ApplyFailure> {
        match self {
            Self::Tenants => tenants::apply(connection, facts).await,
            Self::Users => users::apply(connection, facts).await,
            Self::Sessions => sessions::apply(connection, facts).await,
            Self::Invites => invites::apply(connection, facts).await,
            Self::ApiKeys => api_keys::apply(connection, facts).await,
            Self::Destinations => destinations::apply(connection, facts).await,
            Self::Senders => senders::apply(connection, facts).await,
            Self::IngestRoutes => ingest_routes::apply(connection, facts).await,
            Self::WebhookEvents => webhook_events::apply(connection, facts).await,
            Self::DeliveryAttempts => delivery_attempts::apply(connection, facts).await,
            Self::DeliveryStatistics => delivery_statistics::apply(connection, facts).await,
        }
    }

    /// Removes from rows that were folded anew what retention has removed from the live ones. Each session
    /// sees one of the two by the names of its tables. The new rows show at least what the live ones
    /// showed when something was last removed. Answers how many rows there were.
    pub async fn remove_returned(
        self,
        aside: &mut PgConnection,
        live: &mut PgConnection,
    ) -> Result<u64, sqlx::Error> {
        match self {
            Self::WebhookEvents => webhook_events::remove_returned(aside, live).await,
            Self::DeliveryAttempts => delivery_attempts::remove_returned(aside, live).await,
            _ => Ok(0),
        }
    }
}
