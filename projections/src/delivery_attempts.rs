//! Delivery attempts: every HTTP request, what it met, and which settings were in force.
//!
//! An attempt is told by two facts, each written once: its start and its end. So a row needs no version
//! to be right when facts repeat; it needs only that the start is there before the end.

use std::collections::{BTreeMap, HashMap};

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::columns::{known, version, without_nul};
use crate::fold::{AggregateFact, ApplyFailure, SequenceGap};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::projection::ReadModel;
use crate::retention::{self, uuids};
use crate::tenant_scope::TenantScope;
use crate::webhook_events::{self, attempts};

/// Events whose attempts are looked at, and at most removed, in one statement.
const EVENTS_LOOKED_AT_ONCE: i64 = 5_000;

/// An attempt, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// The event it was to deliver.
    pub event_id: WebhookEventId,
    /// Its number, from 1, over the event's whole life.
    pub attempt: u32,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The worker that made it.
    pub worker: String,
    /// Version of the destination's stream whose settings were used.
    pub destination_version: u64,
    /// Version of the tenant's stream whose secret signed.
    pub tenant_version: u64,
    pub started_at: DateTime<Utc>,
    /// How it ended; `None`: it is under way.
    pub end: Option<End>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub finished_at: DateTime<Utc>,
    /// What came of it.
    pub outcome: Outcome,
    /// HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// From its first step to its end, in milliseconds.
    pub duration_ms: u64,
    /// Response headers that matter.
    pub response_headers: BTreeMap<String, String>,
    /// The first 2 KiB of the response body.
    pub response_excerpt: Option<String>,
    /// The address the request went to.
    pub address: Option<String>,
    /// A short reason for a person.
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
    response_headers: Option<Json<BTreeMap<String, String>>>,
    response_excerpt: Option<String>,
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
                response_headers: row.response_headers.map(|Json(headers)| headers).unwrap_or_default(),
                response_excerpt: row.response_excerpt,
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

/// The start of an attempt, as a batch holds it.
#[derive(Clone, Copy)]
struct Started<'a> {
    tenant_id: Uuid,
    destination_id: Uuid,
    worker: &'a str,
    destination_version: u64,
    tenant_version: u64,
    at: DateTime<Utc>,
}

/// The end of an attempt, as a batch holds it.
#[derive(Clone, Copy)]
struct Finished<'a> {
    logged: &'a LoggedFact,
    report: &'a AttemptReport,
    at: DateTime<Utc>,
}

type Key = (Uuid, i32);

#[derive(Debug)]
pub(crate) struct DeliveryAttempts;

impl ReadModel for DeliveryAttempts {
    const NAME: &'static str = "delivery_attempts";
    const AGGREGATES: &'static [&'static str] = &[WebhookEventFact::AGGREGATE];
    const READS: &'static [&'static str] = &["events", "retention_floors"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }

    async fn remove_returned(
        rebuilt: &mut PgConnection,
        live: &mut PgConnection,
    ) -> Result<u64, sqlx::Error> {
        remove_returned(rebuilt, live).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let mut started: BTreeMap<Key, Started<'_>> = BTreeMap::new();
    let mut finished: HashMap<Key, Finished<'_>> = HashMap::new();
    for logged in facts {
        match &logged.fact {
            Fact::WebhookEvent(WebhookEventFact::DeliveryStarted {
                destination_id,
                attempt,
                worker,
                destination_version,
                tenant_version,
                at,
            }) => {
                let start = Started {
                    tenant_id: logged.tenant_id.0,
                    destination_id: destination_id.0,
                    worker,
                    destination_version: *destination_version,
                    tenant_version: *tenant_version,
                    at: *at,
                };
                started.insert((logged.stream_id, attempts(*attempt)), start);
            }
            Fact::WebhookEvent(WebhookEventFact::DeliveryAttempted { attempt, report, at, .. }) => {
                let end = Finished { logged, report, at: *at };
                finished.insert((logged.stream_id, attempts(*attempt)), end);
            }
            _ => {}
        }
    }
    let whole: Vec<(Key, Started<'_>, Option<Finished<'_>>)> =
        started.into_iter().map(|(key, start)| (key, start, finished.remove(&key))).collect();
    if !whole.is_empty() {
        insert(connection, &whole).await?;
    }
    if !finished.is_empty() {
        // Started in an earlier batch.
        let mut ends: Vec<(Key, Finished<'_>)> = finished.into_iter().collect();
        ends.sort_unstable_by_key(|(key, _)| *key);
        let filled_in = finish(connection, &ends).await?;
        let orphans: Vec<_> = ends.iter().filter(|(key, _)| !filled_in.contains(key)).collect();
        let streams = orphans.iter().map(|((event_id, _), _)| *event_id).collect();
        let removed = webhook_events::removed(connection, streams).await?;
        if let Some((_, end)) = orphans.iter().find(|((event_id, _), _)| !removed.contains(event_id)) {
            return Err(SequenceGap::of(end.logged, None).into());
        }
    }
    Ok(())
}

/// The columns of how attempts ended, side by side, as `unnest` takes them.
#[derive(Default)]
struct EndColumns {
    finished_at: Vec<Option<DateTime<Utc>>>,
    outcome: Vec<Option<String>>,
    http_status: Vec<Option<i32>>,
    duration_ms: Vec<Option<i64>>,
    response_headers: Vec<Option<Value>>,
    response_excerpt: Vec<Option<String>>,
    address: Vec<Option<String>>,
    detail: Vec<Option<String>>,
}

impl EndColumns {
    fn of<'a>(ends: impl Iterator<Item = Option<Finished<'a>>>) -> Self {
        // What receivers answer may hold NUL, which columns cannot.
        let stored = |text: Option<&String>| text.map(|text| without_nul(text));
        let mut columns = Self::default();
        for end in ends {
            let report = end.map(|end| end.report);
            columns.finished_at.push(end.map(|end| end.at));
            columns.outcome.push(report.map(|report| report.outcome.name().to_owned()));
            columns.http_status.push(report.and_then(|report| report.status).map(i32::from));
            columns
                .duration_ms
                .push(report.map(|report| i64::try_from(report.duration_ms).unwrap_or(i64::MAX)));
            columns.response_headers.push(report.map(|report| {
                let header = |(name, value): (&String, &String)| {
                    (without_nul(name), Value::String(without_nul(value)))
                };
                Value::Object(report.response_headers.iter().map(header).collect())
            }));
            columns.response_excerpt.push(stored(report.and_then(|report| report.response_excerpt.as_ref())));
            columns.address.push(stored(report.and_then(|report| report.address.as_ref())));
            columns.detail.push(stored(report.and_then(|report| report.detail.as_ref())));
        }
        columns
    }
}

fn stored_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[tracing::instrument(name = "db.delivery_attempts.insert", level = "trace", skip_all, err(level = "debug"))]
async fn insert(
    connection: &mut PgConnection,
    whole: &[(Key, Started<'_>, Option<Finished<'_>>)],
) -> Result<(), sqlx::Error> {
    let ends = EndColumns::of(whole.iter().map(|(_, _, end)| *end));
    sqlx::query!(
        r#"
        INSERT INTO delivery_attempts (
            event_id, attempt, tenant_id, destination_id, worker, destination_version, tenant_version,
            started_at, finished_at, outcome, http_status, duration_ms, response_headers,
            response_excerpt, address, detail
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[],
            $8::timestamptz[], $9::timestamptz[], $10::text[], $11::int[], $12::bigint[], $13::jsonb[],
            $14::text[], $15::text[], $16::text[]
        )
        ON CONFLICT (event_id, attempt) DO UPDATE SET
            finished_at = excluded.finished_at,
            outcome = excluded.outcome,
            http_status = excluded.http_status,
            duration_ms = excluded.duration_ms,
            response_headers = excluded.response_headers,
            response_excerpt = excluded.response_excerpt,
            address = excluded.address,
            detail = excluded.detail
        WHERE delivery_attempts.finished_at IS NULL AND excluded.finished_at IS NOT NULL
        "#,
        &whole.iter().map(|((event_id, _), _, _)| *event_id).collect::<Vec<_>>(),
        &whole.iter().map(|((_, attempt), _, _)| *attempt).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| start.tenant_id).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| start.destination_id).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| without_nul(start.worker)).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| stored_version(start.destination_version)).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| stored_version(start.tenant_version)).collect::<Vec<_>>(),
        &whole.iter().map(|(_, start, _)| start.at).collect::<Vec<_>>(),
        &ends.finished_at as &[Option<DateTime<Utc>>],
        &ends.outcome as &[Option<String>],
        &ends.http_status as &[Option<i32>],
        &ends.duration_ms as &[Option<i64>],
        &ends.response_headers as &[Option<Value>],
        &ends.response_excerpt as &[Option<String>],
        &ends.address as &[Option<String>],
        &ends.detail as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Fills in attempts that were announced before, and answers with those it found.
#[tracing::instrument(name = "db.delivery_attempts.finish", level = "trace", skip_all, err(level = "debug"))]
async fn finish(
    connection: &mut PgConnection,
    ends: &[(Key, Finished<'_>)],
) -> Result<Vec<Key>, sqlx::Error> {
    let columns = EndColumns::of(ends.iter().map(|(_, end)| Some(*end)));
    let found = sqlx::query!(
        r#"
        UPDATE delivery_attempts AS attempt
        SET finished_at = ending.finished_at,
            outcome = ending.outcome,
            http_status = ending.http_status,
            duration_ms = ending.duration_ms,
            response_headers = ending.response_headers,
            response_excerpt = ending.response_excerpt,
            address = ending.address,
            detail = ending.detail
        FROM unnest(
            $1::uuid[], $2::int[], $3::timestamptz[], $4::text[], $5::int[], $6::bigint[], $7::jsonb[],
            $8::text[], $9::text[], $10::text[]
        ) AS ending (
            event_id, attempt, finished_at, outcome, http_status, duration_ms, response_headers,
            response_excerpt, address, detail
        )
        WHERE attempt.event_id = ending.event_id
          AND attempt.attempt = ending.attempt
        RETURNING attempt.event_id, attempt.attempt
        "#,
        &ends.iter().map(|((event_id, _), _)| *event_id).collect::<Vec<_>>(),
        &ends.iter().map(|((_, attempt), _)| *attempt).collect::<Vec<_>>(),
        &columns.finished_at as &[Option<DateTime<Utc>>],
        &columns.outcome as &[Option<String>],
        &columns.http_status as &[Option<i32>],
        &columns.duration_ms as &[Option<i64>],
        &columns.response_headers as &[Option<Value>],
        &columns.response_excerpt as &[Option<String>],
        &columns.address as &[Option<String>],
        &columns.detail as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|row| (row.event_id, row.attempt)).collect())
}

/// Removes the attempts of events that leave the read models; says how many there were.
#[tracing::instrument(name = "db.delivery_attempts.remove", level = "trace", skip_all, err(level = "debug"))]
pub async fn remove(connection: &mut PgConnection, events: &[WebhookEventId]) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!("DELETE FROM delivery_attempts WHERE event_id = ANY($1)", &uuids(events));
    Ok(removed.execute(connection).await?.rows_affected())
}

/// Removes from the rows that `aside` sees the attempts of events that have left the rows that `live` sees.
/// `aside` is at least as far in the log as `live` was when they left. Answers how many there were.
pub(crate) async fn remove_returned(
    aside: &mut PgConnection,
    live: &mut PgConnection,
) -> Result<u64, sqlx::Error> {
    if retention::highest(live).await?.is_none() {
        return Ok(0);
    }
    let (mut count, mut after) = (0, Uuid::nil());
    loop {
        let attempted = attempted_after(aside, after).await?;
        let Some(last) = attempted.last() else { return Ok(count) };
        after = *last;
        let left: Vec<Uuid> = webhook_events::have_left(live, attempted).await?.into_iter().collect();
        count += remove(aside, &retention::events(&left)).await?;
    }
}

/// The next events that were attempted, by id.
#[tracing::instrument(
    name = "db.delivery_attempts.attempted_after",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
async fn attempted_after(connection: &mut PgConnection, after: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT event_id FROM delivery_attempts WHERE event_id > $1 ORDER BY event_id LIMIT $2",
        after,
        EVENTS_LOOKED_AT_ONCE,
    )
    .fetch_all(connection)
    .await
}

/// The attempts that a stream shows, in their order, whether or not they are in the read model.
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
        // As columns hold it.
        let stored = |text: &Option<String>| text.as_deref().map(without_nul);
        let headers = report.response_headers.iter();
        Self {
            finished_at,
            outcome: report.outcome,
            http_status: report.status,
            duration_ms: report.duration_ms,
            response_headers: headers.map(|(name, value)| (without_nul(name), without_nul(value))).collect(),
            response_excerpt: stored(&report.response_excerpt),
            address: stored(&report.address),
            detail: stored(&report.detail),
        }
    }
}

/// The attempts of an event of the scope's tenant, in their order.
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
            started_at, finished_at, outcome, http_status, duration_ms,
            response_headers AS "response_headers: Json<BTreeMap<String, String>>",
            response_excerpt, address, detail
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
