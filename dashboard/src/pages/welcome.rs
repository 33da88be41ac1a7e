//! `/welcome/{token}`: a link of the demonstration, which signs in once.

use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::sign_in;
use crate::App;
use crate::api::auth::Credentials;
use crate::session::{Visitor, links};
use crate::web::error::PageError;

/// Signs in with a link that was not used.
///
/// # Errors
/// The link was used, is too old, or is opened on another machine.
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, PageError> {
    let (request, _) = request.into_parts();
    if !links::is_from_this_machine(&request) {
        return Err(PageError::NotFound);
    }
    let (email, password) = app.links.take(&token).ok_or(PageError::UsedLink)?;
    let credentials = Credentials { email: &email, password: &password, code: None };
    let tokens = visitor.api(&app).log_in(credentials).await?;
    Ok(sign_in::signed_in(&visitor, &tokens, "/"))
}
