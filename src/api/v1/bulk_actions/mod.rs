//! Bulk actions: many webhook events are replayed or cancelled.

pub(crate) mod change;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod request;

use std::collections::BTreeMap;

use aggregates::bulk_action::{BulkAction, BulkActionCounts, BulkActionRequest, EventAction, RefusedEvents};
use aggregates::ids::BulkActionId;
use projections::bulk_actions::BulkActionState;
use projections::{TenantScope, bulk_actions};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::access::permissions::Permission;
use crate::api::commands::Commands;
use crate::api::http::fields::scope::member;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{BulkActionStateName, EventActionName};
use crate::event_store::stream_reader;

/// Dependencies of the handlers of bulk actions.
#[derive(Clone, Debug)]
pub(crate) struct BulkActions {
    pub(crate) commands: Commands,
    /// Most bulk actions of a tenant in progress.
    pub(crate) in_progress_max: u32,
    /// Highest rate of a bulk action, in events per second.
    pub(crate) rate_max: u32,
}

/// Replay or cancellation of all events that match a filter.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BulkAction)]
pub(crate) struct BulkActionView {
    /// `null` after a dry run.
    id: Option<Uuid>,
    action: EventActionName,
    /// `null` after a dry run.
    state: Option<BulkActionStateName>,
    /// Query parameters of `GET /api/v1/events` that select the events, without those that are not given.
    filter: BTreeMap<String, String>,
    /// Most events that are replayed or cancelled in a second, on average.
    #[schema(minimum = 1)]
    rate_per_second: u32,
    requested_by: Uuid,
    /// Only events that were accepted until then are examined.
    requested_at: Timestamp,
    /// Number of events that matched at the request.
    #[schema(minimum = 0)]
    events: u64,
    /// Whether more events matched: they are not counted beyond a limit.
    events_is_lower_bound: bool,
    /// Number of events examined so far: `done`, and those that refused.
    #[schema(minimum = 0)]
    examined: u64,
    /// Number of events replayed or cancelled so far.
    #[schema(minimum = 0)]
    done: u64,
    refused: RefusedEventsView,
    /// When all events were examined, or the bulk action was cancelled; `null` before.
    ended_at: Option<Timestamp>,
}

/// Numbers of events that could not be replayed or cancelled, by reason.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusedEvents)]
pub(crate) struct RefusedEventsView {
    /// Replays of events that are not in `CriticalFailure`.
    #[schema(minimum = 0)]
    not_in_critical_failure: u64,
    /// Replays of events whose payload is erased.
    #[schema(minimum = 0)]
    payload_is_erased: u64,
    /// Cancellations of events that do not wait for an attempt.
    #[schema(minimum = 0)]
    not_waiting: u64,
    /// Cancellations of events with an attempt in progress.
    #[schema(minimum = 0)]
    attempt_in_progress: u64,
}

impl From<RefusedEvents> for RefusedEventsView {
    fn from(refused: RefusedEvents) -> Self {
        let RefusedEvents { not_in_critical_failure, payload_is_erased, not_waiting, attempt_in_progress } =
            refused;
        Self { not_in_critical_failure, payload_is_erased, not_waiting, attempt_in_progress }
    }
}

impl BulkActionView {
    /// Returns the view of a bulk action with what was done so far; `None` if it was not requested.
    fn of(id: BulkActionId, action: &BulkAction, counts: BulkActionCounts) -> Option<Self> {
        let state = match action {
            BulkAction::Unknown => return None,
            BulkAction::Running(_) => BulkActionState::Running,
            BulkAction::Paused(_) => BulkActionState::Paused,
            BulkAction::Cancelled(..) => BulkActionState::Cancelled,
            BulkAction::Completed(..) => BulkActionState::Completed,
        };
        let request = action.request()?;
        let result = action.result();
        let mut view = Self::requested(request, result.map_or(counts, |result| result.counts));
        view.id = Some(id.0);
        view.state = Some(state.into());
        view.ended_at = result.map(|result| result.at.into());
        Some(view)
    }

    /// Returns the view of a request.
    fn requested(request: &BulkActionRequest, counts: BulkActionCounts) -> Self {
        let filter = request.filter.iter().map(|(name, value)| (member(name), value.clone()));
        Self {
            id: None,
            action: request.action.into(),
            state: None,
            filter: filter.collect(),
            rate_per_second: request.rate_per_second,
            requested_by: request.requested_by.0,
            requested_at: request.at.into(),
            events: request.events,
            events_is_lower_bound: request.has_more_events,
            examined: counts.done + counts.refused.total(),
            done: counts.done,
            refused: counts.refused.into(),
            ended_at: None,
        }
    }
}

impl BulkActions {
    /// Returns a bulk action of the caller's tenant.
    async fn find(&self, caller: &Caller, id: BulkActionId) -> Result<BulkActionView, Problem> {
        let (action, counts) = self.load(caller, id).await?;
        BulkActionView::of(id, &action, counts).ok_or_else(|| Problem::not_found("bulk action"))
    }

    async fn load(
        &self,
        caller: &Caller,
        id: BulkActionId,
    ) -> Result<(BulkAction, BulkActionCounts), Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        let owner = stream_reader::owner_of::<BulkAction>(&mut connection, id.0).await?;
        drop(connection);
        caller.check_owner(owner, "bulk action")?;
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let row = bulk_actions::get(&mut scope, id).await?;
        scope.end().await?;
        // Loaded last: one that has ended shows its last counts.
        let action = self.commands.store().load::<BulkAction>(id.0).await?.state;
        Ok((action, row.map(|row| row.progress.counts).unwrap_or_default()))
    }
}

/// Checks that the caller may do to many events what the caller may do to one.
fn check_role(caller: &Caller, action: EventAction) -> Result<(), Problem> {
    match action {
        EventAction::Replay => Permission::ReplayEvents.check(caller.role),
        EventAction::Cancel => Permission::CancelEvents.check(caller.role),
    }
}
