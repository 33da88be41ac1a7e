//! Folds facts into the rows of attempts.

use std::collections::{BTreeMap, HashMap};

use aggregates::fact::Fact;
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ended::{EndColumns, Finished};
use crate::columns::without_nul;
use crate::fold::{ApplyFailure, SequenceGap};
use crate::logged_fact::LoggedFact;
use crate::webhook_events::{self, attempts};

/// Primary key: event and number of the attempt.
type Key = (Uuid, i32);

/// Start of an attempt in a batch of facts.
#[derive(Clone, Copy)]
struct Started<'a> {
    tenant_id: Uuid,
    destination_id: Uuid,
    worker: &'a str,
    destination_version: u64,
    tenant_version: u64,
    at: DateTime<Utc>,
}

/// The attempts that a batch starts and ends.
#[derive(Default)]
struct Batch<'a> {
    started: BTreeMap<Key, Started<'a>>,
    finished: HashMap<Key, Finished<'a>>,
}

pub(super) async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let Batch { started, mut finished } = Batch::of(facts);
    let whole: Vec<(Key, Started<'_>, Option<Finished<'_>>)> =
        started.into_iter().map(|(key, start)| (key, start, finished.remove(&key))).collect();
    if !whole.is_empty() {
        insert(connection, &whole).await?;
    }
    if !finished.is_empty() {
        // These started in an earlier batch.
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

impl<'a> Batch<'a> {
    fn of(facts: &'a [LoggedFact]) -> Self {
        let mut batch = Self::default();
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
                }) => {
                    let start = Started {
                        tenant_id: logged.tenant_id.0,
                        destination_id: destination_id.0,
                        worker,
                        destination_version: *destination_version,
                        tenant_version: *tenant_version,
                        at: *at,
                    };
                    batch.started.insert((logged.stream_id, attempts(*attempt)), start);
                }
                Fact::WebhookEvent(WebhookEventFact::DeliveryAttempted { attempt, report, at, .. }) => {
                    let end = Finished { logged, report, at: *at };
                    batch.finished.insert((logged.stream_id, attempts(*attempt)), end);
                }
                _ => {}
            }
        }
        batch
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
            started_at, finished_at, outcome, http_status, duration_ms,
            address, detail
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[],
            $8::timestamptz[], $9::timestamptz[], $10::text[], $11::int[], $12::bigint[], $13::text[],
            $14::text[]
        )
        ON CONFLICT (event_id, attempt) DO UPDATE SET
            finished_at = excluded.finished_at,
            outcome = excluded.outcome,
            http_status = excluded.http_status,
            duration_ms = excluded.duration_ms,
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
        &ends.address as &[Option<String>],
        &ends.detail as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Completes attempts that started in an earlier batch. Returns those that it found.
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
            address = ending.address,
            detail = ending.detail
        FROM unnest(
            $1::uuid[], $2::int[], $3::timestamptz[], $4::text[], $5::int[], $6::bigint[],
            $7::text[], $8::text[]
        ) AS ending (
            event_id, attempt, finished_at, outcome, http_status, duration_ms, address, detail
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
        &columns.address as &[Option<String>],
        &columns.detail as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|row| (row.event_id, row.attempt)).collect())
}
