//! Legal holds in force, read from the log.
//!
//! They are not a read model: what a hold forbids must not happen, however far the projections are behind. An index of the
//! log has their facts only.

use std::collections::BTreeMap;

use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId};
use aggregates::legal_hold::{HeldSubject, LegalHoldFact};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::log_rows;
use crate::logged_fact::LoggedFact;

/// Legal hold in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegalHold {
    pub subject: HeldSubject,
    pub reason: String,
    pub placed_at: DateTime<Utc>,
}

/// Legal holds of a tenant and its destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegalHolds {
    tenant: Option<LegalHold>,
    destinations: BTreeMap<DestinationId, LegalHold>,
    lifted: Vec<DestinationId>,
}

impl LegalHolds {
    /// Returns the hold on the tenant.
    #[must_use]
    pub fn on_tenant(&self) -> Option<&LegalHold> {
        self.tenant.as_ref()
    }

    /// Returns the hold on a destination itself.
    #[must_use]
    pub fn on_destination(&self, id: DestinationId) -> Option<&LegalHold> {
        self.destinations.get(&id)
    }

    /// Returns a hold that forbids to erase what belongs to a destination: that on its tenant, or its own.
    #[must_use]
    pub fn covering(&self, id: DestinationId) -> Option<&LegalHold> {
        self.on_tenant().or_else(|| self.on_destination(id))
    }

    /// Returns the destinations with a hold of their own.
    #[must_use]
    pub fn held_destinations(&self) -> Vec<DestinationId> {
        self.destinations.keys().copied().collect()
    }

    /// Returns the destinations whose holds were lifted.
    #[must_use]
    pub fn lifted_destinations(&self) -> &[DestinationId] {
        &self.lifted
    }
}

/// Returns the legal holds of a tenant, now or as of a time. Times are compared in whole milliseconds, as histories show
/// them.
///
/// # Errors
/// When the database fails, or a fact cannot be read: it may be a hold.
#[tracing::instrument(name = "db.legal_holds.of_tenant", level = "debug", skip_all, err(level = "debug"))]
pub async fn of_tenant(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    as_of: Option<DateTime<Utc>>,
) -> Result<LegalHolds, sqlx::Error> {
    let rows = log_rows!(
        r#"
        FROM (
            SELECT DISTINCT ON (aggregate_id) *
            FROM events
            WHERE tenant_id = $1
              AND aggregate_type = 'LegalHold'
              AND ($2::timestamptz IS NULL OR date_trunc('milliseconds', recorded_at) <= $2)
            ORDER BY aggregate_id, sequence DESC
        ) AS last
        "#,
        tenant_id.0,
        as_of,
    )
    .fetch_all(connection)
    .await?;
    let mut holds = LegalHolds::default();
    for row in rows {
        let logged = LoggedFact::try_from(row).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let destination = DestinationId(logged.stream_id);
        match logged.fact {
            Fact::LegalHold(LegalHoldFact::LegalHoldPlaced { subject, reason, at }) => {
                let hold = LegalHold { subject, reason, placed_at: at };
                match subject {
                    HeldSubject::Tenant => holds.tenant = Some(hold),
                    HeldSubject::Destination => {
                        holds.destinations.insert(destination, hold);
                    }
                }
            }
            Fact::LegalHold(LegalHoldFact::LegalHoldLifted { subject: HeldSubject::Destination, .. }) => {
                holds.lifted.push(destination);
            }
            _ => {}
        }
    }
    Ok(holds)
}
