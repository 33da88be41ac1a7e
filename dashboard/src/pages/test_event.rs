//! `/test-event`: an event to try a destination with, sent as a source sends it.

use askama::Template;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Redirect, Response};

use super::Refusal;
use crate::api::ingest::Webhook;
use crate::session::Session;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};

/// Beginning of the idempotency keys of test events.
const KEY_PREFIX: &str = "test-event-";
/// Payload that the form begins with.
const PAYLOAD: &str = "{\n  \"test\": true,\n  \"message\": \"A test event of HookSentry\"\n}";
const LABELS: [(&str, &str); 3] = [("token", "Ingest URL"), ("body", "Payload"), ("payload", "Payload")];

#[derive(Template)]
#[template(path = "test_event.html")]
struct TestEventPage {
    frame: Frame,
    token: String,
    payload: String,
    refusal: Option<Refusal>,
}

/// Shows the form.
pub(crate) async fn page(session: Session) -> Response {
    View(TestEventPage::of(&session, "", PAYLOAD, None)).into_response()
}

/// Sends the event and leads to its page.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(session: Session, form: Form) -> Result<Response, PageError> {
    let payload = form.optional("payload").unwrap_or(PAYLOAD);
    // The last segment of an ingest URL is the token.
    let token = form.text("token").rsplit('/').next().unwrap_or_default();
    let idempotency_key = format!("{KEY_PREFIX}{}", hex::encode(rand::random::<[u8; 8]>()));
    let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    let mut api_key = header(form.text("key"));
    api_key.set_sensitive(true);
    let webhook = Webhook {
        tenant_id: session.claims.tenant_id,
        token,
        api_key: &api_key,
        idempotency_key: &header(&idempotency_key),
        payload,
    };
    match session.api.ingest(webhook).await {
        Ok(event) => Ok(Redirect::to(&format!("/events/{event}?done=sent")).into_response()),
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("", &LABELS);
            let status = refusal.status;
            Ok(View(TestEventPage::of(&session, form.text("token"), payload, Some(refusal))).with(status))
        }
    }
}

impl TestEventPage {
    fn of(session: &Session, token: &str, payload: &str, refusal: Option<Refusal>) -> Self {
        let frame = Frame::of(session, Section::Destinations, "Send a test event");
        Self { frame, token: token.to_owned(), payload: payload.to_owned(), refusal }
    }
}
