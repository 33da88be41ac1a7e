//! `/destinations/{id}/senders`: a new sender of a destination.

use axum::extract::Path;
use axum::response::Response;
use uuid::Uuid;

use super::{LABELS, one};
use crate::pages::{Refusal, ingest_token};
use crate::session::Session;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Registers a sender and shows its ingest token, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn create(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    match session.api.register_sender(id, form.optional("label")).await {
        Ok(registered) => {
            let path = format!("/senders/{}", registered.id);
            Ok(ingest_token::show(&session, "Sender created", path, registered.ingest_token, false))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("sender", &LABELS);
            one::show(&session, id, Some(refusal)).await
        }
    }
}
