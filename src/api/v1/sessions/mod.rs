//! Sessions of the caller: list them and end one.

pub(crate) mod end;
pub(crate) mod list;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::time::Timestamp;

/// An open session of the caller.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(crate) struct SessionView {
    id: Uuid,
    /// Whether this request was made with a token of the session.
    is_current: bool,
    opened_at: Timestamp,
    /// Time at which the session ends unless it is refreshed.
    expires_at: Timestamp,
}
