//! Delivery attempts: every HTTP request, its outcome, and the versions of the settings in force.
//!
//! Two facts describe an attempt, its start and its end, each written once. A row therefore needs no version to be
//! correct when facts repeat; it only needs the start before the end.

mod ended;
mod fold;
mod retention;

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::{known, version, without_nul};
use crate::fold::{AggregateFact, ApplyFailure};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

pub use retention::remove;

/// Attempt to deliver a webhook event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAttempt {
    pub event_id: WebhookEventId,
    /// Number from 1, counted since the event was accepted.
    pub attempt: u32,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    pub worker: String,
    /// Version of the destination's stream whose settings were used.
    pub destination_version: u64,
    /// Version of the tenant's stream whose secret signed.
    pub tenant_version: u64,
    pub started_at: DateTime<Utc>,
    /// `None`: the attempt is in progress.
    pub end: Option<End>,
}

/// End of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub finished_at: DateTime<Utc>,
    pub outcome: Outcome,
    /// Status of the response; `None`: there was none.
    pub http_status: Option<u16>,
    /// Milliseconds from the first step to the end.
    pub duration_ms: u64,
    /// Address that the request was sent to.
    pub address: Option<String>,
    /// Description of a failure.
    pub detail: Option<String>,
}

struct Row {
    event_id: Uuid,
    attempt: i32,
    tenant_id: Uuid,
    destination_id: Uuid,
    worker: String,
    destination_version: i64,
    tenant_version: i64,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    outcome: Option<String>,
    http_status: Option<i32>,
    duration_ms: Option<i64>,
    address: Option<String>,
    detail: Option<String>,
}

impl TryFrom<Row> for DeliveryAttempt {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let end = match (row.finished_at, row.outcome, row.duration_ms) {
            (Some(finished_at), Some(outcome), Some(duration_ms)) => Some(End {
                finished_at,
                outcome: known("outcome", Outcome::from_name(&outcome))?,
                http_status: row.http_status.and_then(|status| u16::try_from(status).ok()),
                duration_ms: known("duration_ms", u64::try_from(duration_ms).ok())?,
                address: row.address,
                detail: row.detail,
            }),
            _ => None,
        };
        Ok(Self {
            event_id: row.event_id.into(),
            attempt: known("attempt", u32::try_from(row.attempt).ok())?,
            tenant_id: row.tenant_id.into(),
            destination_id: row.destination_id.into(),
            worker: row.worker,
            destination_version: version("destination_version", row.destination_version)?,
            tenant_version: version("tenant_version", row.tenant_version)?,
            started_at: row.started_at,
            end,
        })
    }
}

#[derive(Debug)]
pub(crate) struct DeliveryAttempts;

impl ReadModel for DeliveryAttempts {
    const NAME: &'static str = "delivery_attempts";
    const AGGREGATES: &'static [&'static str] = &[WebhookEventFact::AGGREGATE];
    const READS: &'static [&'static str] = &["events", "retention_floors"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        fold::apply(connection, facts).await
    }

    async fn remove_returned(
        rebuilt: &mut PgConnection,
        live: &mut PgConnection,
    ) -> Result<u64, sqlx::Error> {
        retention::remove_returned(rebuilt, live).await
    }
}

/// Returns the attempts of a stream, in their order, whether or not they are in the read model.
pub fn of_stream(facts: &[LoggedFact]) -> Vec<DeliveryAttempt> {
    let mut attempts: Vec<DeliveryAttempt> = vec![];
    for logged in facts {
        match &logged.fact {
            Fact::WebhookEvent(WebhookEventFact::DeliveryStarted {
                destination_id,
                attempt,
                worker,
                destination_version,
                tenant_version,
                at,
                ..
            }) => attempts.push(DeliveryAttempt {
                event_id: logged.stream_id.into(),
                attempt: *attempt,
                tenant_id: logged.tenant_id,
                destination_id: *destination_id,
                worker: without_nul(worker),
                destination_version: *destination_version,
                tenant_version: *tenant_version,
                started_at: *at,
                end: None,
            }),
            Fact::WebhookEvent(WebhookEventFact::DeliveryAttempted { attempt, report, at, .. }) => {
                // An attempt ends before the next one starts.
                if let Some(last) = attempts.last_mut().filter(|last| last.attempt == *attempt) {
                    last.end = Some(End::of(report, *at));
                }
            }
            _ => {}
        }
    }
    attempts
}

impl End {
    fn of(report: &AttemptReport, finished_at: DateTime<Utc>) -> Self {
        // Like the columns, which cannot contain NUL.
        let stored = |text: &Option<String>| text.as_deref().map(without_nul);
        Self {
            finished_at,
            outcome: report.outcome,
            http_status: report.status,
            duration_ms: report.duration_ms,
            address: stored(&report.address),
            detail: stored(&report.detail),
        }
    }
}

/// Lists the attempts of an event of the scope's tenant by their number.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.delivery_attempts.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    event_id: WebhookEventId,
    direction: Direction,
    page: Page,
) -> Result<Listed<DeliveryAttempt>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM delivery_attempts WHERE tenant_id = $1 AND event_id = $2"#,
        tenant_id,
        event_id.0,
    )
    .fetch_one(scope.connection())
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            event_id, attempt, tenant_id, destination_id, worker, destination_version, tenant_version,
            started_at, finished_at, outcome, http_status, duration_ms, address, detail
        FROM delivery_attempts
        WHERE tenant_id = $1 AND event_id = $2
        ORDER BY
            CASE WHEN $3::bool THEN attempt END DESC,
            attempt
        LIMIT $4
        OFFSET $5
        "#,
        tenant_id,
        event_id.0,
        direction.is_descending(),
        page.limit,
        page.offset,
    )
    .fetch_all(scope.connection())
    .await?;
    Listed::read(total, rows)
}
