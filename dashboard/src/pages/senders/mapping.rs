//! `/senders/{id}/mapping`: the mapping of a sender, tried before it is saved.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::one::{Editor, show};
use crate::api::problem::ApiError;
use crate::api::senders::Preview;
use crate::pages::Refusal;
use crate::session::Session;
use crate::text::json::indented;
use crate::web::error::PageError;
use crate::web::form::Form;

const LABELS: [(&str, &str); 2] = [("mapping", "Mapping"), ("payload", "Payload")];

/// Result of a mapping for the payload of the form.
pub(super) struct Shown {
    pub(super) delivered: String,
    pub(super) missing: String,
    /// Reason why the mapping could not be applied.
    pub(super) failure: Option<String>,
}

/// Tries a mapping, or saves it if the form says so.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    let is_saved = form.text("action") == "save";
    let result = match json("mapping", form.text("mapping")) {
        Ok(mapping) if is_saved => save(&session, id, &mapping).await?,
        Ok(mapping) => preview(&session, id, &mapping, form.text("payload")).await?.map(Some),
        Err(refusal) => Err(refusal),
    };
    let (preview, refusal) = match result {
        Ok(None) => {
            return Ok(Redirect::to(&format!("/senders/{id}?done=mapped")).into_response());
        }
        Ok(preview) => (preview, None),
        Err(refusal) => (None, Some(in_mapping(refusal))),
    };
    let editor = Editor {
        mapping: form.text("mapping").to_owned(),
        payload: form.text("payload").to_owned(),
        preview,
    };
    show(&session, id, Some(editor), refusal).await
}

/// Removes the mapping.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn remove(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    match session.api.remove_mapping(id).await {
        Ok(()) => Ok(Redirect::to(&format!("/senders/{id}?done=unmapped")).into_response()),
        Err(error) => show(&session, id, None, Some(in_mapping(Refusal::of(error)?))).await,
    }
}

async fn save(
    session: &Session,
    id: Uuid,
    mapping: &RawValue,
) -> Result<Result<Option<Shown>, Refusal>, PageError> {
    explained(session.api.replace_mapping(id, mapping).await.map(|()| None))
}

async fn preview(
    session: &Session,
    id: Uuid,
    mapping: &RawValue,
    payload: &str,
) -> Result<Result<Shown, Refusal>, PageError> {
    match json("payload", payload) {
        Ok(payload) => explained(session.api.preview_mapping(id, &payload, mapping).await.map(Shown::of)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn explained<T>(result: Result<T, ApiError>) -> Result<Result<T, Refusal>, PageError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Refusal::of(error).map(Err),
    }
}

/// Names the form. What is wrong with a key of the mapping says which key it is.
fn in_mapping(refusal: Refusal) -> Refusal {
    let mut refusal = refusal.in_form("mapping", &LABELS);
    for field in &mut refusal.fields {
        field.label.get_or_insert("In the mapping,");
    }
    refusal
}

/// Reads a field that must be JSON, with the position of the error.
fn json(field: &str, text: &str) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| Refusal::of_field(field, format!("is not JSON: {error}")))
}

impl Shown {
    fn of(preview: Preview) -> Self {
        let delivered = preview.delivered.get();
        Self {
            delivered: indented(delivered).unwrap_or_else(|| delivered.to_owned()),
            missing: preview.missing.join(", "),
            failure: preview.failure,
        }
    }
}
