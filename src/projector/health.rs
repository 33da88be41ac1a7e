//! Health of the read models: their lag, and which of them have halted.

use std::time::Duration;

use projections::checkpoints::{self, Lag};
use projections::{Projection, quarantine};
use sqlx::{PgConnection, PgPool};

use crate::event_store::held_back::{self, BlockingTransaction};

/// Time for which readers of the log may wait for a transaction before it is reported.
const HELD_BACK_MAX: Duration = Duration::from_secs(5);

/// Reads the health of the read models, in any process.
#[derive(Clone, Debug)]
pub struct ProjectorHealth {
    pool: PgPool,
}

/// Health of all read models.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub projections: Vec<ProjectionHealth>,
    /// Number of streams that read models show only up to a gap.
    pub quarantined_streams: u64,
    /// The transaction that has held back the readers of the log for more than [`HELD_BACK_MAX`]; `None`: none has.
    pub held_back_by: Option<BlockingTransaction>,
}

/// Health of one read model.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionHealth {
    pub projection: Projection,
    /// Why it halted; `None`: it has not.
    pub halted_because: Option<String>,
    /// Approximate number of facts that it has not folded; 0 only when there are none.
    pub lag_facts: u64,
    /// Age of the oldest of them.
    pub lag: Duration,
}

impl ProjectionHealth {
    fn of(lag: Lag) -> Option<Self> {
        Some(Self {
            projection: Projection::from_name(&lag.reader)?,
            halted_because: lag.halted_because,
            lag_facts: lag.facts,
            lag: lag.age,
        })
    }
}

impl Health {
    /// Returns the read models that have halted.
    pub fn halted(&self) -> impl Iterator<Item = &ProjectionHealth> {
        self.projections.iter().filter(|health| health.halted_because.is_some())
    }

    /// Returns the longest lag of a read model that has not halted.
    #[must_use]
    pub fn lag(&self) -> Duration {
        let live = self.projections.iter().filter(|health| health.halted_because.is_none());
        live.map(|health| health.lag).max().unwrap_or_default()
    }
}

impl ProjectorHealth {
    /// Creates a reader for the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Reads the current health.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn look(&self) -> Result<Health, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        look(&mut connection).await
    }
}

async fn look(connection: &mut PgConnection) -> Result<Health, sqlx::Error> {
    let lags = checkpoints::lag(connection, &Projection::ALL.map(Projection::name)).await?;
    let mut health = Health {
        projections: lags.into_iter().filter_map(ProjectionHealth::of).collect(),
        quarantined_streams: quarantine::count(connection).await?,
        held_back_by: None,
    };
    if health.lag() > HELD_BACK_MAX {
        let oldest = held_back::blocking_transaction(connection).await?;
        health.held_back_by = oldest.filter(|transaction| transaction.age > HELD_BACK_MAX);
    }
    Ok(health)
}

/// Sets the metrics of every projection.
pub(super) async fn measure(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let health = look(connection).await?;
    metrics::gauge!("hooksentry_quarantined_streams").set(health.quarantined_streams as f64);
    for health in health.projections {
        set_metrics(
            health.projection,
            // Precise far beyond any lag one would act on differently.
            health.lag_facts as f64,
            health.lag.as_secs_f64(),
            health.halted_because.is_some(),
        );
    }
    Ok(())
}

/// Resets the metrics: only the leader measures, and old figures must not outlive the lead.
pub(super) fn forget_metrics() {
    metrics::gauge!("hooksentry_quarantined_streams").set(0.0);
    for projection in Projection::ALL {
        set_metrics(projection, 0.0, 0.0, false);
    }
}

fn set_metrics(projection: Projection, facts: f64, seconds: f64, halted: bool) {
    let name = projection.name();
    metrics::gauge!("hooksentry_projection_lag_facts", "projection" => name).set(facts);
    metrics::gauge!("hooksentry_projection_lag_seconds", "projection" => name).set(seconds);
    metrics::gauge!("hooksentry_projection_halted", "projection" => name).set(f64::from(u8::from(halted)));
}
