//! `POST /api/v1/bulk-actions`

use aggregates::Decide;
use aggregates::bulk_action::{BulkAction, BulkActionCommand, BulkActionCounts, BulkActionRequest};
use aggregates::ids::BulkActionId;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use projections::listing::recorded;
use projections::paging::Direction;
use projections::webhook_events::{self, Filter, PageStart, SortField};

use super::{BulkActionView, BulkActions, check_role};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::EventActionGiven;
use crate::api::http::fields::number::PositiveNumber;
use crate::api::http::fields::scope::EventFilterGiven;
use crate::api::http::problem::{Kind, Problem};
use crate::event_store::bulk_action::BulkActionFailure;
use crate::{clock, identifiers};

/// Rate of a bulk action whose request names none, in events per second, if it is not above the limit.
const RATE_DEFAULT: u32 = 50;

body! {
    /// Replay or cancellation of all events that match a filter.
    NewBulkAction {
        action: EventActionGiven = "action",
        filter: EventFilterGiven = "filter",
        /// Most events that are replayed or cancelled in a second, on average; 50 if absent.
        rate_per_second: Option<PositiveNumber> = "ratePerSecond",
        /// `true` only counts the events.
        dry_run: Option<bool> = "dryRun",
    }
}

/// Replay or cancel many events
///
/// Requests a bulk action, which is carried out in the background. It is for the events that `GET /api/v1/events` shows with
/// the same filter at the request, the oldest first. Each is replayed or cancelled as by
/// `POST /api/v1/events/{id}/replay` or `/cancel`, in the name of the caller; those that refuse it are counted.
/// Events that do not match any more when they are reached are left out. Payloads cannot be searched: what is searched for
/// may be in no fact.
#[utoipa::path(post, path = "/api/v1/bulk-actions", tag = "Bulk actions", request_body = NewBulkAction,
    responses((status = 200, body = BulkActionView, description = "What would be done: a dry run."),
        (status = 202, body = BulkActionView, description = "The bulk action, which has begun."),
        (status = 400), (status = 403), (status = 422)))]
pub(crate) async fn handler(
    State(bulk_actions): State<BulkActions>,
    caller: Caller,
    body: UnreadBody,
) -> Result<Response, Problem> {
    let new: NewBulkAction = body.read_small(&()).await?;
    check_role(&caller, new.action)?;
    let rate_per_second = bulk_actions.rate(new.rate_per_second)?;
    let (events, has_more_events) = bulk_actions.matching(&caller, new.filter).await?;
    let request = BulkActionRequest {
        action: new.action,
        filter: recorded(new.filter),
        rate_per_second,
        requested_by: caller.user_id,
        events,
        has_more_events,
        at: clock::now(),
    };
    if new.dry_run == Some(true) {
        let view = BulkActionView::requested(&request, BulkActionCounts::default());
        return Ok(Json(view).into_response());
    }
    let (id, view) = bulk_actions.request(&caller, request).await?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, format!("/api/v1/bulk-actions/{id}"))], Json(view)).into_response())
}

impl BulkActions {
    fn rate(&self, given: Option<u32>) -> Result<u32, Problem> {
        let most = self.rate_max;
        let rate = given.unwrap_or(RATE_DEFAULT.min(most));
        if rate <= most {
            return Ok(rate);
        }
        metrics::counter!("hooksentry_tenant_limit_refusals_total", "limit" => "bulk action rate")
            .increment(1);
        let detail =
            format!("`ratePerSecond` must be at most {most}, which HOOKSENTRY_BULK_ACTION_RATE allows.");
        Err(Problem::new(Kind::TenantLimit, detail))
    }

    /// Returns the number of events that match, and whether there are more.
    async fn matching(&self, caller: &Caller, filter: Filter) -> Result<(u64, bool), Problem> {
        let mut scope = self.commands.lists().begin(caller.tenant_id).await?;
        let (sort, start) = (SortField::default(), PageStart::Offset(0));
        let listing = webhook_events::list(&mut scope, filter, sort, Direction::Descending, 1, start).await?;
        scope.end().await?;
        Ok((listing.total.unsigned_abs(), listing.has_more_than_total))
    }

    async fn request(
        &self,
        caller: &Caller,
        request: BulkActionRequest,
    ) -> Result<(BulkActionId, BulkActionView), Problem> {
        let id = BulkActionId(identifiers::new_id());
        let (tenant_id, at, events) = (caller.tenant_id, request.at, request.events);
        let facts = BulkAction::Unknown.decide(BulkActionCommand::Request(request.clone()))?;
        let store = self.commands.store();
        let most = self.in_progress_max;
        match store.request_bulk_action(tenant_id, id, &facts, at, most, &caller.metadata()).await {
            Ok(()) => {}
            Err(BulkActionFailure::TooMany) => return Err(self.too_many()),
            Err(failure) => return Err(failure.into()),
        }
        let action = request.action;
        tracing::info!(bulk_action.id = %id, tenant.id = %tenant_id, %action, events, "a bulk action was requested");
        let running = BulkAction::Running(request);
        let view = BulkActionView::of(id, &running, BulkActionCounts::default());
        Ok((id, view.ok_or_else(|| Problem::internal("a bulk action was not requested"))?))
    }

    fn too_many(&self) -> Problem {
        metrics::counter!("hooksentry_tenant_limit_refusals_total", "limit" => "bulk actions").increment(1);
        let detail = format!(
            "The tenant has {} bulk actions in progress, the most that HOOKSENTRY_TENANT_BULK_ACTIONS allows. Wait for the \
             end of one, or cancel one.",
            self.in_progress_max
        );
        Problem::new(Kind::TenantLimit, detail)
    }
}
