//! `/events/{id}/proof`: the proofs of an event's facts as a file.

use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::Response;
use uuid::Uuid;

use crate::session::Session;
use crate::web::error::PageError;

/// Passes the proofs of the API on.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn download(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    let mut answer = session.api.event_proof(id).await?;
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"proof-{id}.json\"")) {
        answer.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(answer)
}
