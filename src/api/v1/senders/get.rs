//! `GET /api/v1/senders/{id}`

use aggregates::ids::SenderId;
use axum::Json;
use axum::extract::State;
use projections::{TenantScope, senders};

use super::{SenderView, Senders};
use crate::api::access::authentication::Caller;
use crate::api::as_of;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::DateOrTime;

/// Get a sender
#[utoipa::path(get, path = "/api/v1/senders/{id}", tag = "Senders",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "Shows the sender as it was at this time; a date means its end.")),
    responses((status = 200, body = SenderView, description = "The sender, now or as of the given time."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
    query: Query,
) -> Result<Json<SenderView>, Problem> {
    if as_of::is_requested(&query) {
        let sender = as_of::sender(&senders.commands, &caller, id, query).await?;
        return Ok(Json(sender.into()));
    }
    senders.check_owner(&caller, id).await?;
    let mut scope = TenantScope::begin(senders.commands.pool(), caller.tenant_id).await?;
    let sender = senders::get(&mut scope, id).await?;
    scope.end().await?;
    sender.map(|sender| Json(sender.into())).ok_or_else(|| Problem::not_found("sender"))
}
