//! `/senders/{id}`: one sender.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::example::{self, Example};
use super::mapping::Shown;
use crate::api::senders::Sender;
use crate::clock;
use crate::pages::{Refusal, ingest_token};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::json::indented;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;

/// Mapping of a form whose sender has none.
const MAPPING_BEGUN: &str = "{\n  \"id\": \"id\"\n}";

#[derive(Template)]
#[template(path = "senders/one.html")]
struct SenderPage {
    frame: Frame,
    sender: Sender,
    name: String,
    destination_url: String,
    created: Moment,
    updated: Moment,
    examples: Vec<Example>,
    editor: Editor,
    may_manage: bool,
    refusal: Option<Refusal>,
}

/// Contents of the mapping editor.
#[derive(Default)]
pub(super) struct Editor {
    pub(super) mapping: String,
    pub(super) payload: String,
    pub(super) preview: Option<Shown>,
}

/// Shows a sender.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session, id, None, None).await
}

/// Replaces the ingest token and shows the new one, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn replace_token(
    session: Session,
    Path(id): Path<Uuid>,
    _: Form,
) -> Result<Response, PageError> {
    match session.api.replace_sender_token(id).await {
        Ok(token) => {
            let path = format!("/senders/{id}");
            Ok(ingest_token::show(&session, "New ingest token", path, token, true))
        }
        Err(error) => show(&session, id, None, Some(Refusal::of(error)?)).await,
    }
}

/// Deletes the sender.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn delete(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    let destination = session.api.sender(id).await?.destination_id;
    match session.api.delete_sender(id).await {
        Ok(()) => {
            let path = format!("/destinations/{destination}?done=sender-deleted");
            Ok(Redirect::to(&path).into_response())
        }
        Err(error) => show(&session, id, None, Some(Refusal::of(error)?)).await,
    }
}

/// Shows a sender, with the editor as it was sent or, without one, as it begins.
pub(super) async fn show(
    session: &Session,
    id: Uuid,
    editor: Option<Editor>,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let sender = session.api.sender(id).await?;
    let destination = session.api.destination(sender.destination_id).await?;
    let parameters = Parameters::of(&session.location);
    let chosen = parameters.get("event").and_then(|id| id.parse().ok());
    let (now, name) = (clock::now(), sender.label.clone().unwrap_or_else(|| "Unnamed sender".to_owned()));
    let frame = Frame::of(session, Section::Destinations, name.clone());
    let may_manage = frame.allows(Role::Developer);
    let examples = if may_manage { example::of(session, &sender, chosen).await } else { vec![] };
    let editor = match editor {
        Some(editor) => editor,
        None => {
            let payload = example::payload(&examples);
            Editor { mapping: stored_mapping(session, &sender).await?, payload, preview: None }
        }
    };
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = SenderPage {
        frame: frame.with_notice(match parameters.get("done") {
            Some("mapped") => Some("Saved. Webhooks of this sender are mapped from now on."),
            Some("unmapped") => Some("Removed. Webhooks of this sender are delivered as they are received."),
            _ => None,
        }),
        name,
        destination_url: destination.url,
        created: Moment::of(sender.created_at, now),
        updated: Moment::of(sender.updated_at, now),
        examples,
        editor,
        may_manage,
        refusal,
        sender,
    };
    Ok(View(page).answer(status_code))
}

async fn stored_mapping(session: &Session, sender: &Sender) -> Result<String, PageError> {
    if !sender.has_mapping {
        return Ok(MAPPING_BEGUN.to_owned());
    }
    let mapping = session.api.mapping(sender.id).await?;
    Ok(indented(mapping.get()).unwrap_or_else(|| mapping.get().to_owned()))
}
