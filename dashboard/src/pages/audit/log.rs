//! `/audit/log`: the head of the transparency log, and how to verify it.

use askama::Template;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::checkpoint::{Checkpoint, key_of_log};
use crate::clock;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};

#[derive(Template)]
#[template(path = "audit/log.html")]
struct LogPage {
    frame: Frame,
    checkpoint: Option<Checkpoint>,
    /// Time of the last checkpoint of the installation.
    signed: Option<Moment>,
    /// Public keys of the tenant's log, the one in force first.
    keys: Vec<String>,
    installation: Option<Checkpoint>,
    commands: String,
}

/// Shows the head of the log.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let checkpoint = session.api.checkpoint().await?.and_then(Checkpoint::read);
    let installation = session.api.installation_checkpoint().await?.and_then(Checkpoint::read);
    // The time is of use, but the page can be shown without it.
    let readiness = session.api.readiness().await.unwrap_or_default();
    let mut keys = vec![];
    if let Some(checkpoint) = &checkpoint {
        let mut known = session.api.log_keys().await?;
        known.sort_by_key(|key| key.retired_at.is_some());
        keys.extend(known.iter().filter_map(|key| key_of_log(&key.key, &checkpoint.log)));
    }
    let now = clock::now();
    let page = LogPage {
        frame: Frame::of(&session, Section::Audit, "Evidence"),
        commands: commands(&session.cookies.base(), keys.first().map_or("$VKEY", String::as_str)),
        signed: readiness.evidence.last_checkpoint_at.map(|at| Moment::of(at, now)),
        checkpoint,
        installation,
        keys,
    };
    Ok(View(page).into_response())
}

/// Returns the checkpoint as a file.
///
/// # Errors
/// The API refuses or does not answer, or there is no checkpoint yet.
pub(crate) async fn download(session: Session) -> Result<Response, PageError> {
    let note = session.api.checkpoint().await?.ok_or(PageError::NotFound)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"checkpoint.txt\"")),
    ];
    Ok((headers, note).into_response())
}

/// Returns commands that verify the checkpoint with curl and openssl alone.
fn commands(base: &str, key: &str) -> String {
    format!(
        "vkey='{key}'\n\
         curl -s {base}/api/v1/audit/log/checkpoint -H \"Authorization: Bearer $TOKEN\" >checkpoint\n\
         sed '/^$/,$d' checkpoint >text\n\
         sed -n 's/^— [^ ]* //p' checkpoint | head -n 1 | base64 -d | tail -c 64 >signature\n\
         {{ printf '302a300506032b6570032100' | xxd -r -p; printf %s \"${{vkey##*+}}\" | base64 -d | tail -c 32; }} >key.der\n\
         openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in text -sigfile signature"
    )
}
