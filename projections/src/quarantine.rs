//! Quarantine of streams that the log has with a gap.
//!
//! A stream with a gap cannot be folded beyond it. Everything before the gap is folded, and the facts after it are
//! skipped by every read model, so the content of a read model still follows from the log alone. A gap is proved with
//! the log: rows that lack a fact which the log has are not a gap, and halt their projection.

use std::collections::{BTreeSet, HashMap};

use aggregates::ids::TenantId;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::logged_fact::LoggedFact;

/// Maximum number of quarantined streams. A log that lacks more is broken in a way that no reader should pass over.
pub const STREAMS_MAX: usize = 10_000;

/// A stream with a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamGap {
    pub aggregate_type: String,
    pub stream_id: Uuid,
    /// `None`: the stream belongs to no tenant.
    pub tenant_id: Option<TenantId>,
    /// First sequence that is missing.
    pub missing_sequence: u64,
}

/// A stream in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedStream {
    pub gap: StreamGap,
    /// By the clock of the database.
    pub found_at: DateTime<Utc>,
}

/// The streams whose later facts are skipped.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    /// First missing sequence, by type of the aggregate and id of the stream.
    missing: HashMap<(String, Uuid), u64>,
}

impl Quarantine {
    /// Reads the quarantined streams.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut quarantine = Self::default();
        quarantine.extend(list(connection).await?.into_iter().map(|stream| stream.gap));
        Ok(quarantine)
    }

    /// Returns whether read models skip a fact.
    #[must_use]
    pub fn skips(&self, logged: &LoggedFact) -> bool {
        if self.missing.is_empty() {
            return false;
        }
        let missing = self.missing.get(&(logged.fact.aggregate_type().to_owned(), logged.stream_id));
        missing.is_some_and(|missing| logged.sequence > *missing)
    }

    /// Finds which of the streams of `facts` have a gap, and adds them. Returns those that are new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(
        &mut self,
        connection: &mut PgConnection,
        facts: &[LoggedFact],
    ) -> Result<Vec<StreamGap>, sqlx::Error> {
        let mut gaps = gaps(connection, facts).await?;
        gaps.retain(|gap| !self.missing.contains_key(&(gap.aggregate_type.clone(), gap.stream_id)));
        gaps.truncate(STREAMS_MAX.saturating_sub(self.missing.len()));
        self.extend(gaps.iter().cloned());
        Ok(gaps)
    }

    fn extend(&mut self, gaps: impl IntoIterator<Item = StreamGap>) {
        let gaps = gaps.into_iter();
        self.missing.extend(gaps.map(|gap| ((gap.aggregate_type, gap.stream_id), gap.missing_sequence)));
    }
}

/// Returns the gaps of the streams of `facts`. Earlier facts of a stream are committed before later ones, so a missing
/// one cannot appear any more.
#[tracing::instrument(name = "db.quarantine.gaps", level = "debug", skip_all, err(level = "debug"))]
async fn gaps(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<Vec<StreamGap>, sqlx::Error> {
    let streams: BTreeSet<_> =
        facts.iter().map(|logged| (logged.fact.aggregate_type(), logged.stream_id)).collect();
    let rows = sqlx::query!(
        r#"
        SELECT
            aggregate_type AS "aggregate_type!",
            aggregate_id AS "aggregate_id!",
            tenant_id,
            min(expected) AS "missing!"
        FROM unnest($1::text[], $2::text[]) AS stream (aggregate_type, aggregate_id)
        CROSS JOIN LATERAL (
            SELECT tenant_id, sequence, row_number() OVER (ORDER BY sequence) AS expected
            FROM public.events AS fact
            WHERE fact.aggregate_type = stream.aggregate_type
              AND fact.aggregate_id = stream.aggregate_id
        ) AS numbered
        WHERE sequence <> expected
        GROUP BY aggregate_type, aggregate_id, tenant_id
        ORDER BY aggregate_type, aggregate_id
        "#,
        &streams.iter().map(|(aggregate_type, _)| (*aggregate_type).to_owned()).collect::<Vec<_>>(),
        &streams.iter().map(|(_, stream_id)| stream_id.to_string()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StreamGap {
                aggregate_type: row.aggregate_type,
                stream_id: stream_id(&row.aggregate_id)?,
                tenant_id: row.tenant_id.map(TenantId),
                missing_sequence: u64::try_from(row.missing).unwrap_or_default(),
            })
        })
        .collect()
}

/// Puts streams into quarantine for good.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.quarantine.record", level = "debug", skip_all, err(level = "debug"))]
pub async fn record(connection: &mut PgConnection, gaps: &[StreamGap]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO quarantined_streams (aggregate_type, aggregate_id, tenant_id, missing_sequence)
        SELECT *
        FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[])
        ON CONFLICT DO NOTHING
        "#,
        &gaps.iter().map(|gap| gap.aggregate_type.clone()).collect::<Vec<_>>(),
        &gaps.iter().map(|gap| gap.stream_id.to_string()).collect::<Vec<_>>(),
        &gaps.iter().map(|gap| gap.tenant_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &gaps.iter().map(|gap| i64::try_from(gap.missing_sequence).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the quarantined streams, the last found first, at most [`STREAMS_MAX`].
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.quarantine.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(connection: &mut PgConnection) -> Result<Vec<QuarantinedStream>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT aggregate_type, aggregate_id, tenant_id, missing_sequence, found_at
        FROM public.quarantined_streams
        ORDER BY found_at DESC, aggregate_type, aggregate_id
        LIMIT $1
        "#,
        i64::try_from(STREAMS_MAX).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let gap = StreamGap {
                aggregate_type: row.aggregate_type,
                stream_id: stream_id(&row.aggregate_id)?,
                tenant_id: row.tenant_id.map(TenantId),
                missing_sequence: u64::try_from(row.missing_sequence).unwrap_or_default(),
            };
            Ok(QuarantinedStream { gap, found_at: row.found_at })
        })
        .collect()
}

/// Returns the number of quarantined streams.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.quarantine.count", level = "trace", skip_all, err(level = "debug"))]
pub async fn count(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM quarantined_streams"#)
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn stream_id(stored: &str) -> Result<Uuid, sqlx::Error> {
    Uuid::parse_str(stored).map_err(|error| sqlx::Error::Decode(error.into()))
}
