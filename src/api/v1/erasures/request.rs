//! `POST /api/v1/erasures`

use aggregates::erasure::{Erasure, ErasureCommand, ErasureRequest, ErasureScope};
use aggregates::ids::ErasureId;
use aggregates::role::Role;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use projections::paging::Direction;
use projections::webhook_events::{self, Filter, PageStart, SortField};
use projections::{TenantScope, erasures, legal_holds};

use super::ErasureView;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::EventStatusGiven;
use crate::api::http::fields::scope::{DestinationIdText, ErasureScopeGiven, FromTime, ToTime};
use crate::api::http::fields::text::ErasureReasonText;
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::v1::events::Events;
use crate::api::v1::legal_holds::forbids;
use crate::{clock, identifiers};

/// Most erasures of a tenant in progress. Higher: a tenant delays the erasures of others.
const IN_PROGRESS_MAX: i64 = 10;

body! {
    /// Erasure of the payloads of many events.
    NewErasure {
        /// `Tenant`: all events of the tenant, which only an Owner may request. `Events`: those that match all of
        /// `status`, `destinationUrlId`, `from` and `to` that are present, at least one.
        whole_tenant: ErasureScopeGiven = "scope",
        /// Only events that have this status when the erasure reaches them.
        status: Option<EventStatusGiven> = "status",
        destination_id: Option<DestinationIdText> = "destinationUrlId",
        /// Only events accepted at or after this time.
        from: Option<FromTime> = "from",
        /// Only events accepted at or before this time; a date means its end.
        to: Option<ToTime> = "to",
        reason: ErasureReasonText = "reason",
        /// `true` only counts the events.
        dry_run: Option<bool> = "dryRun",
    }
}

/// Erase the payloads of many events
///
/// Requests an erasure, which is carried out in the background. It covers the events that were accepted until the request.
/// Each is erased as by `POST /api/v1/events/{id}/erase`; one with an attempt in progress is waited for. Events of
/// destinations under a legal hold are left out, and counted in `kept`.
#[utoipa::path(post, path = "/api/v1/erasures", tag = "Erasures", request_body = NewErasure,
    responses((status = 200, body = ErasureView, description = "What would be erased: a dry run."),
        (status = 202, body = ErasureView, description = "The erasure, which has begun."),
        (status = 400), (status = 403), (status = 409), (status = 422)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    caller: Caller,
    body: UnreadBody,
) -> Result<Response, Problem> {
    let new: NewErasure = body.read_small(&()).await?;
    let filter = new.filter(&caller)?;
    let tenant_id = caller.tenant_id;
    let mut scope = TenantScope::begin(events.commands.pool(), tenant_id).await?;
    let holds = legal_holds::of_tenant(scope.connection(), tenant_id, None).await?;
    let in_progress = erasures::in_progress(&mut scope).await?;
    scope.end().await?;
    let hold = match filter.destination_id {
        Some(destination) => holds.covering(destination),
        None => holds.on_tenant(),
    };
    if let Some(hold) = hold {
        return Err(forbids(hold));
    }
    let dry_run = new.dry_run == Some(true);
    if !dry_run && in_progress >= IN_PROGRESS_MAX {
        let detail = format!("A tenant may have at most {IN_PROGRESS_MAX} erasures in progress.");
        return Err(Problem::new(Kind::TenantLimit, detail));
    }
    let request = ErasureRequest {
        scope: ErasureScope {
            destination_id: filter.destination_id,
            status: filter.status.map(|status| status.name().to_owned()),
            from: filter.from,
            to: filter.to,
        },
        reason: new.reason,
        requested_by: caller.user_id,
        events: count(&events, &caller, filter).await?,
        at: clock::now(),
    };
    if dry_run {
        return Ok(Json(ErasureView::of(None, request, erasures::Progress::default(), None)).into_response());
    }
    let id = ErasureId(identifiers::new_id());
    let command = ErasureCommand::Request(request.clone());
    let facts = aggregates::Decide::decide(&Erasure::Unknown, command)?;
    events.commands.store().request_erasure(tenant_id, id, &facts, &caller.metadata()).await?;
    tracing::info!(erasure.id = %id, tenant.id = %tenant_id, events = request.events, "an erasure was requested");
    let view = ErasureView::of(Some(id), request, erasures::Progress::default(), None);
    let location = format!("/api/v1/erasures/{id}");
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)).into_response())
}

impl NewErasure {
    /// Returns the filter of the events in the scope.
    fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let Self { status, destination_id, from, to, .. } = *self;
        let filter = Filter { status, destination_id, from, to, ..Filter::default() };
        let is_filtered = filter != Filter::default();
        if self.whole_tenant && caller.role != Role::Owner {
            let detail = "Only an Owner may erase all payloads of the tenant.";
            return Err(Problem::new(Kind::RoleForbids, detail));
        }
        let wrong = match (self.whole_tenant, is_filtered) {
            (true, true) => "must be `Events` where the events are filtered",
            (false, false) => "needs one of `status`, `destinationUrlId`, `from` and `to`",
            _ => return Ok(filter),
        };
        Err(Problem::invalid(FieldErrors::of("scope", wrong)))
    }
}

/// Returns the number of events in the scope.
async fn count(events: &Events, caller: &Caller, filter: Filter) -> Result<u64, Problem> {
    let mut scope = events.commands.lists().begin(caller.tenant_id).await?;
    let start = PageStart::Offset(0);
    let listing =
        webhook_events::list(&mut scope, filter, SortField::default(), Direction::Descending, 1, start)
            .await?;
    scope.end().await?;
    Ok(listing.total.unsigned_abs())
}
