//! Health of the transparency logs: how far they are behind the log, and when they were last signed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::checkpoints;
use sqlx::{PgConnection, PgPool};

use super::ROLE;
use crate::clock;
use crate::evidence_log::{self, Cosigned};

/// Health of the transparency logs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvidenceHealth {
    /// Approximate number of facts that have no leaf yet; 0 only when there are none.
    pub(crate) lag_facts: u64,
    /// Age of the oldest of them.
    pub(crate) lag: Duration,
    /// Number of logs of tenants with entries that no signed head covers.
    pub(crate) unsigned_logs: u64,
    /// When a head was last signed; `None`: never.
    pub(crate) last_signed_at: Option<DateTime<Utc>>,
    /// `None`: no witnesses are required.
    pub(crate) cosigned: Option<Cosigned>,
    /// When a time stamp was received last; `None`: never.
    pub(crate) last_stamped_at: Option<DateTime<Utc>>,
}

/// Reads the current health.
///
/// # Errors
/// When the database fails.
pub(crate) async fn look(pool: &PgPool) -> Result<EvidenceHealth, sqlx::Error> {
    read(&mut *pool.acquire().await?).await
}

async fn read(connection: &mut PgConnection) -> Result<EvidenceHealth, sqlx::Error> {
    let lag = checkpoints::lag(connection, &[ROLE]).await?.pop();
    let (lag_facts, lag) = lag.map_or((0, Duration::ZERO), |lag| (lag.facts, lag.age));
    Ok(EvidenceHealth {
        lag_facts,
        lag,
        unsigned_logs: evidence_log::count_unsigned(connection).await?,
        last_signed_at: evidence_log::last_signed_at(connection).await?,
        cosigned: evidence_log::cosigned(connection).await?,
        last_stamped_at: evidence_log::last_stamped_at(connection).await?,
    })
}

/// Sets the metrics.
pub(super) async fn measure(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let health = read(connection).await?;
    set_metrics(&health);
    Ok(())
}

/// Resets the metrics: only the leader measures, and old figures must not outlive the lead.
pub(super) fn forget_metrics() {
    set_metrics(&EvidenceHealth {
        lag_facts: 0,
        lag: Duration::ZERO,
        unsigned_logs: 0,
        last_signed_at: None,
        cosigned: None,
        last_stamped_at: None,
    });
}

fn set_metrics(health: &EvidenceHealth) {
    let age = |at: Option<DateTime<Utc>>| {
        at.and_then(|at| (clock::now() - at).to_std().ok()).unwrap_or_default().as_secs_f64()
    };
    let cosigned_at = health.cosigned.and_then(|cosigned| cosigned.signed_at);
    let waiting = health.cosigned.map_or(0, |cosigned| cosigned.entries_waiting);
    metrics::gauge!("hooksentry_sealer_lag_facts").set(health.lag_facts as f64);
    metrics::gauge!("hooksentry_sealer_lag_seconds").set(health.lag.as_secs_f64());
    metrics::gauge!("hooksentry_unsigned_logs").set(health.unsigned_logs as f64);
    metrics::gauge!("hooksentry_last_checkpoint_age_seconds").set(age(health.last_signed_at));
    metrics::gauge!("hooksentry_last_cosigned_checkpoint_age_seconds").set(age(cosigned_at));
    metrics::gauge!("hooksentry_last_time_stamp_age_seconds").set(age(health.last_stamped_at));
    metrics::gauge!("hooksentry_uncosigned_entries").set(waiting as f64);
}
