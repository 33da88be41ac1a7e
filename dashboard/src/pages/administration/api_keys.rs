//! `/api-keys`: API keys of sources.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::shown_once;
use crate::api::api_keys::ApiKey;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;

const LABELS: [(&str, &str); 1] = [("name", "Name")];

#[derive(Template)]
#[template(path = "administration/api_keys.html")]
struct ApiKeysPage {
    frame: Frame,
    rows: Vec<Row>,
    /// API keys of the tenant, of which the page shows the first ones.
    total: usize,
    may_manage: bool,
    /// What was typed into the form that was refused.
    name: String,
    refusal: Option<Refusal>,
}

struct Row {
    key: ApiKey,
    created: Moment,
    revoked: Option<Moment>,
}

/// Shows the list.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, "", None).await
}

/// Issues an API key and shows it, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn create(session: Session, form: Form) -> Result<Response, PageError> {
    let name = form.text("name");
    match session.api.issue_api_key(name).await {
        Ok(key) => {
            let lead =
                "A source sends it in the header X-Api-Key. It is shown only now: copy it before you leave.";
            let secret = ("API key", key);
            Ok(shown_once::show(&session, "API key created", lead.to_owned(), secret, "/api-keys"))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("new", &LABELS);
            show(&session, name, Some(refusal)).await
        }
    }
}

/// Revokes an API key.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn revoke(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    match session.api.revoke_api_key(id).await {
        Ok(()) => Ok(Redirect::to("/api-keys?done=revoked").into_response()),
        Err(error) => show(&session, "", Some(Refusal::of(error)?)).await,
    }
}

async fn show(session: &Session, name: &str, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let keys = session.api.api_keys().await?;
    let parameters = Parameters::of(&session.location);
    let notice = (parameters.get("done") == Some("revoked")).then_some("Revoked. The API key is refused.");
    let frame = Frame::of(session, Section::Administration, "API keys").with_notice(notice);
    let (now, status_code) = (clock::now(), refusal.as_ref().map(|refusal| refusal.status));
    let row = |key: ApiKey| Row {
        created: Moment::of(key.created_at, now),
        revoked: key.revoked_at.map(|at| Moment::of(at, now)),
        key,
    };
    let page = ApiKeysPage {
        rows: keys.items.into_iter().map(row).collect(),
        total: keys.total,
        may_manage: frame.allows(Role::Developer),
        frame,
        name: name.to_owned(),
        refusal,
    };
    Ok(View(page).answer(status_code))
}
