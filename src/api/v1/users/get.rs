//! `GET /api/v1/users/{id}`

use aggregates::ids::UserId;
use axum::Json;
use axum::extract::State;

use super::{UserView, Users};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;

/// Get a user
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "Users",
    responses((status = 200, body = UserView, description = "The user."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Json<UserView>, Problem> {
    users.find(&caller, id).await.map(|user| Json(user.into()))
}
