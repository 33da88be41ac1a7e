//! The declaration of a read model, and the list of all of them.

use sqlx::PgConnection;

use crate::fold::ApplyFailure;
use crate::logged_fact::LoggedFact;
use crate::{
    accepted_bytes, api_keys, delivery_attempts, delivery_statistics, destinations, ingest_routes, invites,
    portal_links, senders, sessions, tenants, users, webhook_events,
};

/// A read model: tables that are folded from the log.
pub(crate) trait ReadModel {
    /// Name of its checkpoint and of its first table. It is stored, so it never changes.
    const NAME: &'static str;
    /// Types of the aggregates whose facts it folds. It need not be able to read facts of others.
    const AGGREGATES: &'static [&'static str];
    /// Tables that it writes. Nothing else writes to them, and a rebuild replaces all of them at once.
    const TABLES: &'static [&'static str] = &[Self::NAME];
    /// Other tables that it reads while it folds. Only the log and the progress of retention are allowed:
    /// other read models may be at another position of the log, or be rebuilt at that moment.
    const READS: &'static [&'static str] = &[];

    /// Folds `facts` into its rows: see [`Projection::apply`].
    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure>;

    /// Removes from rebuilt rows what retention removed from the live ones: see
    /// [`Projection::remove_returned`].
    async fn remove_returned(
        _rebuilt: &mut PgConnection,
        _live: &mut PgConnection,
    ) -> Result<u64, sqlx::Error> {
        Ok(0)
    }
}

/// Declares [`Projection`], the handle of a read model, from the types that implement [`ReadModel`].
macro_rules! registry {
    ($($module:ident::$model:ident),+ $(,)?) => {
        /// A read model that is folded from the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Projection {
            $(#[doc = concat!("[`", stringify!($module), "`]")] $model),+
        }

        impl Projection {
            /// Every projection, in the order in which they are folded.
            pub const ALL: [Self; [$(stringify!($model)),+].len()] = [$(Self::$model),+];

            /// Returns the name, which is that of the checkpoint and of the first table.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$model => $module::$model::NAME),+ }
            }

            /// Returns the types of the aggregates whose facts it folds.
            #[must_use]
            pub fn aggregates(self) -> &'static [&'static str] {
                match self { $(Self::$model => $module::$model::AGGREGATES),+ }
            }

            /// Returns the tables that it writes. Nothing else writes to them, and a rebuild replaces all
            /// of them at once.
            #[must_use]
            pub fn tables(self) -> &'static [&'static str] {
                match self { $(Self::$model => $module::$model::TABLES),+ }
            }

            /// Returns the other tables that it reads while it folds: the log and the progress of
            /// retention at most.
            #[must_use]
            pub fn reads(self) -> &'static [&'static str] {
                match self { $(Self::$model => $module::$model::READS),+ }
            }

            /// Folds `facts`, which are consecutive in the log, into its rows. Facts that were folded
            /// before change nothing. The caller rolls back when this fails.
            ///
            /// # Errors
            /// Fails when a fact does not follow from the rows, and when the database fails.
            pub async fn apply(
                self,
                connection: &mut PgConnection,
                facts: &[LoggedFact],
            ) -> Result<(), ApplyFailure> {
                match self { $(Self::$model => $module::$model::apply(connection, facts).await),+ }
            }

            /// Removes from the rebuilt rows what retention has removed from the live ones, and returns
            /// how many rows that were. Each session sees one of the two under the tables' names. The
            /// rebuilt rows are at least as far in the log as the live ones were at the last removal.
            ///
            /// # Errors
            /// Fails when the database fails.
            pub async fn remove_returned(
                self,
                rebuilt: &mut PgConnection,
                live: &mut PgConnection,
            ) -> Result<u64, sqlx::Error> {
                match self { $(Self::$model => $module::$model::remove_returned(rebuilt, live).await),+ }
            }
        }
    };
}

// To add a read model: its file, its migration, and a line here.
registry! {
    tenants::Tenants,
    users::Users,
    sessions::Sessions,
    invites::Invites,
    api_keys::ApiKeys,
    portal_links::PortalLinks,
    destinations::Destinations,
    senders::Senders,
    ingest_routes::IngestRoutes,
    webhook_events::WebhookEvents,
    delivery_attempts::DeliveryAttempts,
    delivery_statistics::DeliveryStatistics,
    accepted_bytes::AcceptedBytes,
}

impl Projection {
    /// Returns the projection of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }

    /// Returns whether it folds facts of aggregates of this type.
    #[must_use]
    pub fn folds(self, aggregate_type: &str) -> bool {
        self.aggregates().contains(&aggregate_type)
    }
}
