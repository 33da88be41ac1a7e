//! Progress of bulk actions.
//!
//! This is not a read model: requests, pauses and ends are facts, and the progress between them moves in the transaction
//! that appends the facts of the events. A change of the state locks the row first, so that it and a step exclude each
//! other.

use std::time::Duration;

use aggregates::bulk_action::{BulkActionCounts, RefusedEvents};
use aggregates::ids::{BulkActionId, TenantId};
use aggregates::stored_enum;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::big_int::BigInt;
use crate::listing::{List, list_filter, sort_fields};
use crate::paging::{Direction, Listed, Page};
use crate::retention::AcceptancePosition;
use crate::tenant_scope::TenantScope;

stored_enum! {
    /// State of a bulk action.
    #[derive(Default)]
    pub enum BulkActionState {
        #[default]
        Running = 0 => "Running",
        /// Interrupted until it is resumed.
        Paused = 1 => "Paused",
        /// Ended by a user before all events were examined.
        Cancelled = 2 => "Cancelled",
        /// All events were examined.
        Completed = 3 => "Completed",
    }
}

list_filter! {
    /// Filter of the list of bulk actions.
    Filter {
        /// Only bulk actions in this state.
        state: one_of BulkActionState => "State", "state = {}";
    }
}

sort_fields! {
    /// What bulk actions can be sorted by.
    SortField {
        #[default]
        RequestedAt => "requestedAt", "requested_at";
    }
}

/// Progress of a bulk action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub state: BulkActionState,
    /// Last event that was examined.
    pub after: Option<AcceptancePosition>,
    pub counts: BulkActionCounts,
    /// Number of steps that were stored.
    pub steps: u64,
}

/// A bulk action with its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkActionProgress {
    pub id: BulkActionId,
    pub tenant_id: TenantId,
    pub progress: Progress,
}

/// The running bulk action whose next step is due first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextStep {
    pub action: BulkActionProgress,
    /// Time until the step is due.
    pub wait: Duration,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    state: i16,
    after_accepted_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
    done: BigInt,
    not_in_critical_failure: BigInt,
    payload_is_erased: BigInt,
    not_waiting: BigInt,
    attempt_in_progress: BigInt,
    steps: BigInt,
    /// Seconds until the next step is due; 0 where it does not matter.
    wait: f64,
}

const COLUMNS: &str = "id, tenant_id, state, after_accepted_at, after_id, done, not_in_critical_failure, payload_is_erased, \
     not_waiting, attempt_in_progress, steps, 0::float8 AS wait";

impl From<Row> for BulkActionProgress {
    fn from(row: Row) -> Self {
        let after = row.after_accepted_at.zip(row.after_id);
        let refused = RefusedEvents {
            not_in_critical_failure: row.not_in_critical_failure.0,
            payload_is_erased: row.payload_is_erased.0,
            not_waiting: row.not_waiting.0,
            attempt_in_progress: row.attempt_in_progress.0,
        };
        let progress = Progress {
            // The table refuses other numbers.
            state: BulkActionState::from_number(i64::from(row.state)).unwrap_or_default(),
            after: after.map(|(accepted_at, id)| AcceptancePosition { accepted_at, id: id.into() }),
            counts: BulkActionCounts { done: row.done.0, refused },
            steps: row.steps.0,
        };
        Self { id: row.id.into(), tenant_id: row.tenant_id.into(), progress }
    }
}

/// Returns how many bulk actions of a tenant have not ended. No other one is added until the transaction ends.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.in_progress", level = "debug", skip_all, err(level = "debug"))]
pub async fn in_progress(connection: &mut PgConnection, tenant_id: TenantId) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtext('hooksentry.bulk_actions'), hashtext($1))::text AS locked",
        tenant_id.0.to_string(),
    )
    .fetch_one(&mut *connection)
    .await?;
    // A statement of its own: it sees what was added while the lock was waited for.
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM bulk_actions WHERE tenant_id = $1 AND state IN (0, 1)"#,
        tenant_id.0,
    )
    .fetch_one(connection)
    .await
}

/// Adds a bulk action, in the transaction that appends its request.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.add", level = "debug", skip_all, err(level = "debug"))]
pub async fn add(
    connection: &mut PgConnection,
    id: BulkActionId,
    tenant_id: TenantId,
    requested_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO bulk_actions (id, tenant_id, requested_at) VALUES ($1, $2, $3)",
        id.0,
        tenant_id.0,
        requested_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the running bulk action whose next step is due first, if one is running.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.next", level = "trace", skip_all, err(level = "debug"))]
pub async fn next(connection: &mut PgConnection) -> Result<Option<NextStep>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, state, after_accepted_at, after_id, done AS "done: _",
            not_in_critical_failure AS "not_in_critical_failure: _", payload_is_erased AS "payload_is_erased: _",
            not_waiting AS "not_waiting: _", attempt_in_progress AS "attempt_in_progress: _", steps AS "steps: _",
            greatest(extract(epoch FROM next_step_at - clock_timestamp()), 0)::float8 AS "wait!"
        FROM bulk_actions
        WHERE state = 0
        ORDER BY next_step_at, id
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| NextStep {
        wait: Duration::try_from_secs_f64(row.wait).unwrap_or_default(),
        action: row.into(),
    }))
}

/// Stores the progress of a bulk action, if it is running and no other step was stored since `to.steps`, and returns
/// whether it was. The next step is due `pause` after this one was, or at once without a pause.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.advance", level = "trace", skip_all, err(level = "debug"))]
pub async fn advance(
    connection: &mut PgConnection,
    id: BulkActionId,
    to: &Progress,
    pause: Duration,
) -> Result<bool, sqlx::Error> {
    let RefusedEvents { not_in_critical_failure, payload_is_erased, not_waiting, attempt_in_progress } =
        to.counts.refused;
    let advanced = sqlx::query!(
        "
        UPDATE bulk_actions
        SET
            after_accepted_at = $3,
            after_id = $4,
            done = $5,
            not_in_critical_failure = $6,
            payload_is_erased = $7,
            not_waiting = $8,
            attempt_in_progress = $9,
            steps = steps + 1,
            -- A step that is late is made up for within a second, so that the rate is met on average. Without a pause the
            -- others that are due come first.
            next_step_at = CASE
                WHEN $10::float8 > 0
                THEN greatest(next_step_at, clock_timestamp() - interval '1 second') + make_interval(secs => $10)
                ELSE clock_timestamp()
            END
        WHERE id = $1
          AND steps = $2
          AND state = 0
        ",
        id.0,
        BigInt(to.steps) as BigInt,
        to.after.map(|after| after.accepted_at),
        to.after.map(|after| after.id.0),
        BigInt(to.counts.done) as BigInt,
        BigInt(not_in_critical_failure) as BigInt,
        BigInt(payload_is_erased) as BigInt,
        BigInt(not_waiting) as BigInt,
        BigInt(attempt_in_progress) as BigInt,
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(advanced.rows_affected() == 1)
}

/// Postpones the next step of a bulk action.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.postpone", level = "trace", skip_all, err(level = "debug"))]
pub async fn postpone(
    connection: &mut PgConnection,
    id: BulkActionId,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bulk_actions SET next_step_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1",
        id.0,
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks a bulk action until the transaction ends, and returns its progress: no step is stored meanwhile.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.lock", level = "debug", skip_all, err(level = "debug"))]
pub async fn lock(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    id: BulkActionId,
) -> Result<Option<Progress>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, state, after_accepted_at, after_id, done AS "done: _",
            not_in_critical_failure AS "not_in_critical_failure: _", payload_is_erased AS "payload_is_erased: _",
            not_waiting AS "not_waiting: _", attempt_in_progress AS "attempt_in_progress: _", steps AS "steps: _",
            0::float8 AS "wait!"
        FROM bulk_actions
        WHERE tenant_id = $1 AND id = $2
        FOR UPDATE
        "#,
        tenant_id.0,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| BulkActionProgress::from(row).progress))
}

/// Stores the state of a bulk action that is locked. If it runs, its next step is due at once.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.set_state", level = "debug", skip_all, err(level = "debug"))]
pub async fn set_state(
    connection: &mut PgConnection,
    id: BulkActionId,
    state: BulkActionState,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE bulk_actions SET state = $2, next_step_at = clock_timestamp() WHERE id = $1",
        id.0,
        state.number(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a bulk action of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(
    scope: &mut TenantScope,
    id: BulkActionId,
) -> Result<Option<BulkActionProgress>, sqlx::Error> {
    let row: Option<Row> = LIST.find(scope, id.0).await?;
    Ok(row.map(Into::into))
}

/// Returns a page of the bulk actions of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.bulk_actions.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<BulkActionProgress>, sqlx::Error> {
    LIST.read::<Row, _>(scope, filter, sort, direction, page).await
}

const LIST: List = List { table: "bulk_actions", columns: COLUMNS, condition: "true" };
