//! The rows of `webhook_events`, and how facts change them.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::SenderId;
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::counts::CountedEvent;
use super::{EventStatus, WebhookEvent};
use crate::columns::{known, version};
use crate::fold::{StreamRow, VersionedRow};
use crate::logged_fact::LoggedFact;

#[derive(FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) tenant_id: Uuid,
    pub(super) destination_id: Uuid,
    pub(super) sender_id: Option<Uuid>,
    pub(super) accepted_at: DateTime<Utc>,
    pub(super) next_attempt_at: Option<DateTime<Utc>>,
    pub(super) delivered_at: Option<DateTime<Utc>>,
    pub(super) version: i64,
    pub(super) failed_attempts: i32,
    pub(super) attempts: i32,
    pub(super) status: i16,
    pub(super) last_outcome: Option<i16>,
    pub(super) last_http_status: Option<i16>,
}

impl Row {
    pub(super) fn counted(&self) -> CountedEvent {
        CountedEvent {
            tenant_id: self.tenant_id,
            destination_id: self.destination_id,
            accepted_at: self.accepted_at,
        }
    }
}

/// Returns a number of attempts as columns hold it.
pub(crate) fn attempts(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl VersionedRow for Row {
    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl StreamRow for Row {
    type Fact = WebhookEventFact;

    fn begin(logged: &LoggedFact, fact: &WebhookEventFact) -> Option<Self> {
        let WebhookEventFact::EventAccepted(acceptance) = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: acceptance.tenant_id.0,
            destination_id: acceptance.destination_id.0,
            sender_id: acceptance.sender_id.map(|id| id.0),
            accepted_at: acceptance.at,
            next_attempt_at: None,
            delivered_at: None,
            version: 1,
            failed_attempts: 0,
            attempts: 0,
            status: EventStatus::Pending.number(),
            last_outcome: None,
            last_http_status: None,
        })
    }

    fn follow(&mut self, fact: &WebhookEventFact) {
        use WebhookEventFact as Fact;
        let Some(status) = EventStatus::after(fact) else { return };
        self.status = status.number();
        self.next_attempt_at = None;
        match fact {
            Fact::DeliveryStarted { attempt, .. } => self.attempts = attempts(*attempt),
            Fact::DeliveryAttempted { failed_attempts, report, at, .. } => {
                self.failed_attempts = attempts(*failed_attempts);
                self.last_outcome = Some(report.outcome.number());
                self.last_http_status = report.status.and_then(|status| i16::try_from(status).ok());
                if status == EventStatus::Succeeded {
                    self.delivered_at = Some(*at);
                }
            }
            Fact::RetryScheduled { failed_attempts, retry_at, .. } => {
                self.failed_attempts = attempts(*failed_attempts);
                self.next_attempt_at = Some(*retry_at);
            }
            Fact::CriticalFailure { failed_attempts, .. } => {
                self.failed_attempts = attempts(*failed_attempts)
            }
            Fact::Replayed { at, .. } => {
                self.failed_attempts = 0;
                self.next_attempt_at = Some(*at);
            }
            Fact::EventAccepted(_) | Fact::Cancelled { .. } | Fact::PayloadErased { .. } => {}
        }
    }
}

pub(super) fn status(number: i16) -> Result<EventStatus, sqlx::Error> {
    known("status", EventStatus::from_number(i64::from(number)))
}

pub(super) fn outcome(number: i16) -> Result<Outcome, sqlx::Error> {
    known("last_outcome", Outcome::from_number(i64::from(number)))
}

impl TryFrom<Row> for WebhookEvent {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            destination_id: row.destination_id.into(),
            sender_id: row.sender_id.map(SenderId),
            status: status(row.status)?,
            failed_attempts: known("failed_attempts", u32::try_from(row.failed_attempts).ok())?,
            attempts: known("attempts", u32::try_from(row.attempts).ok())?,
            next_attempt_at: row.next_attempt_at,
            accepted_at: row.accepted_at,
            delivered_at: row.delivered_at,
            version: version("version", row.version)?,
            last_outcome: row.last_outcome.map(outcome).transpose()?,
            last_http_status: row.last_http_status.map(i16::unsigned_abs),
        })
    }
}

#[tracing::instrument(name = "db.webhook_events.load", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, destination_id, sender_id, accepted_at, next_attempt_at, delivered_at,
            version, failed_attempts, attempts, status, last_outcome, last_http_status
        FROM webhook_events
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

/// Writes rows. Returns how many of them were new.
#[tracing::instrument(name = "db.webhook_events.store", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<usize, sqlx::Error> {
    let inserted = sqlx::query_scalar!(
        r#"
        INSERT INTO webhook_events (
            id, tenant_id, destination_id, sender_id, accepted_at, next_attempt_at, delivered_at,
            version, failed_attempts, attempts, status, last_outcome, last_http_status
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],
            $7::timestamptz[], $8::bigint[], $9::int[], $10::int[], $11::smallint[],
            $12::smallint[], $13::smallint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            next_attempt_at = excluded.next_attempt_at,
            delivered_at = excluded.delivered_at,
            version = excluded.version,
            failed_attempts = excluded.failed_attempts,
            attempts = excluded.attempts,
            status = excluded.status,
            last_outcome = excluded.last_outcome,
            last_http_status = excluded.last_http_status
        WHERE webhook_events.version < excluded.version
        -- A row that was inserted has not been locked by an update.
        RETURNING (xmax = 0) AS "inserted!"
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.sender_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|row| row.accepted_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.next_attempt_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.delivered_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.failed_attempts).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.attempts).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.status).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.last_outcome).collect::<Vec<_>>() as &[Option<i16>],
        &rows.iter().map(|row| row.last_http_status).collect::<Vec<_>>() as &[Option<i16>],
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().filter(|inserted| *inserted).count())
}
