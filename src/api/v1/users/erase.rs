//! `POST /api/v1/users/{id}/erase`

use aggregates::ids::UserId;
use aggregates::user::{User, UserCommand};
use axum::extract::State;
use axum::http::StatusCode;

use super::Users;
use crate::api::access::authentication::Caller;
use crate::api::commands::CONFLICT_RETRIES_MAX;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::text::ErasureReasonText;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds;
use crate::clock;
use crate::event_store::{AppendFailure, ErasureFailure, StreamAppend, stream_reader};

body! {
    /// Erasure of the personal data of a user.
    UserErasure {
        reason: ErasureReasonText = "reason",
    }
}

/// Erase the personal data of a deleted user
///
/// Erases permanently the email addresses of a user who is deleted, and the client addresses and user agents of the user's
/// requests. The facts about the user remain, and their proofs stay valid. Repeated: nothing changes.
#[utoipa::path(post, path = "/api/v1/users/{id}/erase", tag = "Users", request_body = UserErasure,
    responses((status = 204, description = "The personal data is erased."), (status = 400), (status = 403), (status = 404),
        (status = 409)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    let store = users.commands.store();
    // The read model does not show deleted users.
    let owner = stream_reader::owner_of::<User>(&mut *store.pool().acquire().await?, id.0).await?;
    caller.check_owner(owner, "user")?;
    let UserErasure { reason } = body.read_small(&()).await?;
    let command = UserCommand::ErasePersonalData { reason, at: clock::now() };
    let mut retries = 0;
    loop {
        let mut user = store.load::<User>(id.0).await?;
        let version = user.version;
        let facts = user.decide(command.clone())?;
        let append = StreamAppend::new::<User>(id.0, version, &facts, &caller.metadata())?;
        match store.append_erasing_person(caller.tenant_id, id, append).await {
            Ok(position) => {
                users.commands.wait(position).await;
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(ErasureFailure::Held(hold)) => return Err(legal_holds::forbids(&hold)),
            Err(ErasureFailure::Append(AppendFailure::Conflict)) if retries < CONFLICT_RETRIES_MAX => {
                retries += 1;
            }
            Err(ErasureFailure::Append(failure)) => return Err(failure.into()),
        }
    }
}
