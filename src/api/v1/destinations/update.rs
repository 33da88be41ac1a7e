//! `PATCH /api/v1/destinations/{id}`

use aggregates::destination::{AuthChange, Destination, DestinationCommand};
use aggregates::ids::DestinationId;
use aggregates::target_rules::TargetRules;
use axum::Json;
use axum::extract::State;
use projections::destinations::DestinationStatus;

use super::authentication::ChangedAuthentication;
use super::{DestinationView, Destinations};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::destination::{DestinationStatusGiven, DestinationUrlText};
use crate::api::http::fields::number::PositiveNumber;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds;
use crate::clock;

body! {
    /// Changes of a destination, made all or none. What is absent stays as it is.
    DestinationChange with TargetRules {
        url: Option<DestinationUrlText> = "url",
        /// Largest number of concurrent requests.
        concurrency_limit: Option<PositiveNumber> = "serverRateLimit",
        /// `active` also closes the circuit breaker.
        active: Option<DestinationStatusGiven> = "status",
        #[schema(ignore)]
        credentials: ChangedAuthentication = "credentials",
        /// `true` removes the authentication; `authType` and `credentials` are ignored then.
        remove_auth: Option<bool> = "removeAuth",
    }
}

/// Update a destination
///
/// The changes apply from the next attempt on, also to events that were accepted before.
#[utoipa::path(patch, path = "/api/v1/destinations/{id}", tag = "Destinations",
    request_body = DestinationChange,
    responses((status = 200, body = DestinationView, description = "The destination after the change."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<Json<DestinationView>, Problem> {
    let before = destinations.find(caller.tenant_id, id).await?;
    let change: DestinationChange = body.read_with(&*destinations.rules).await?;
    let auth = match &change.credentials {
        _ if change.remove_auth == Some(true) => AuthChange::Remove,
        Some(credentials) => {
            AuthChange::Configure(destinations.seal(caller.tenant_id, id, credentials).await?)
        }
        None => AuthChange::Keep,
    };
    let at = clock::now();
    let command = DestinationCommand::Change {
        url: change.url.map(String::from),
        concurrency_limit: change.concurrency_limit,
        active: change.active,
        auth,
        at,
    };
    let executed = destinations.commands.execute::<Destination>(id.0, command, &caller.metadata()).await?;
    let changed = !executed.facts.is_empty();
    let Destination::Registered(after) = executed.state else {
        return Err(Problem::not_found("destination"));
    };
    let holds = legal_holds::read(&destinations.commands, caller.tenant_id).await?;
    Ok(Json(DestinationView {
        id: id.0,
        tenant_id: caller.tenant_id.0,
        url: after.url,
        status: DestinationStatus::from(after.stage).into(),
        server_rate_limit: after.concurrency_limit,
        effective_server_rate_limit: destinations.effective(after.concurrency_limit),
        auth_type: after.auth.map(|auth| auth.auth_type.into()),
        legal_hold: holds.on_destination(id).map(Into::into),
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}
