//! The webhook secret: shown on request, and replaced.

use axum::response::Response;

use super::{Tested, show};
use crate::api::destinations::Number;
use crate::clock;
use crate::pages::Refusal;
use crate::pages::administration::shown_once;
use crate::session::Session;
use crate::text::times::Moment;
use crate::web::error::PageError;
use crate::web::form::Form;

const LABELS: [(&str, &str); 1] = [("overlapSeconds", "Hours of overlap")];
const SECONDS_OF_HOUR: u64 = 3_600;

/// Shows the secret in force. The audit trail records it.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn reveal(session: Session, _: Form) -> Result<Response, PageError> {
    match session.api.webhook_secret(session.claims.tenant_id).await {
        Ok(secret) => {
            let lead = "Receivers verify with it that a webhook comes from here. The audit trail says that you have seen it.";
            let secret = ("Secret", secret);
            Ok(shown_once::show(&session, "Webhook secret", lead.to_owned(), secret, "/signing"))
        }
        Err(error) => Ok(show(&session, Tested::default(), vec![], Some(Refusal::of(error)?))),
    }
}

/// Replaces the secret.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn replace(session: Session, form: Form) -> Result<Response, PageError> {
    let hours = form.optional("hours").map(Number::typed);
    let overlap = hours.map(|hours| match hours {
        Number::Number(hours) => Number::Number(hours.saturating_mul(SECONDS_OF_HOUR)),
        text => text,
    });
    match session.api.replace_webhook_secret(session.claims.tenant_id, overlap).await {
        Ok(new) => {
            let lead = match new.previous_signs_until.map(|until| Moment::of(until, clock::now())) {
                Some(until) => format!(
                    "Webhooks are signed with this secret from now on. In the header webhook-signature the previous secret \
                     signs as well until {} UTC ({}): change the receivers over until then.",
                    until.text, until.distance
                ),
                None => {
                    "Webhooks are signed with this secret from now on. The previous one is void.".to_owned()
                }
            };
            let secret = ("Secret", new.webhook_secret);
            Ok(shown_once::show(&session, "Webhook secret replaced", lead, secret, "/signing"))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("secret", &LABELS);
            Ok(show(&session, Tested::default(), vec![], Some(refusal)))
        }
    }
}
