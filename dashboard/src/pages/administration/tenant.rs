//! `/tenant`: settings of the tenant, retention and legal hold.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};

use crate::api::destinations::Number;
use crate::api::problem::ApiError;
use crate::api::tenant::{RetentionChange, Tenant, TenantChange};
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

const LABELS: [(&str, &str); 6] = [
    ("name", "Name"),
    ("maxTrys", "Attempts at most"),
    ("circuitBreakerTimer", "Pause in seconds"),
    ("payloadRetentionDays", "Days that payloads are kept"),
    ("eventRetentionDays", "Days that events are listed"),
    ("reason", "Reason"),
];

#[derive(Template)]
#[template(path = "administration/tenant.html")]
struct TenantPage {
    frame: Frame,
    tenant: Tenant,
    created: Moment,
    held_since: Option<Moment>,
    may_change: bool,
    may_hold: bool,
    refusal: Option<Refusal>,
}

/// Shows the settings.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, None).await
}

/// Changes name and delivery.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn change(session: Session, form: Form) -> Result<Response, PageError> {
    let change = TenantChange {
        name: form.text("name"),
        max_attempts: Number::typed(form.text("attempts")),
        circuit_breaker_timer: Number::typed(form.text("pause")),
    };
    let changed = session.api.change_tenant(session.claims.tenant_id, &change).await;
    finish(&session, changed, "settings", "changed").await
}

/// Changes the retention.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn change_retention(session: Session, form: Form) -> Result<Response, PageError> {
    let change = RetentionChange {
        payload_retention_days: form.optional("payload_days").map(Number::typed),
        event_retention_days: form.optional("event_days").map(Number::typed),
    };
    let changed = session.api.change_tenant(session.claims.tenant_id, &change).await;
    finish(&session, changed, "retention", "retained").await
}

/// Places a legal hold.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn hold(session: Session, form: Form) -> Result<Response, PageError> {
    let held = session.api.place_hold(session.claims.tenant_id, form.text("reason")).await;
    finish(&session, held, "hold", "held").await
}

/// Lifts the legal hold.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn lift(session: Session, form: Form) -> Result<Response, PageError> {
    let lifted = session.api.lift_hold(session.claims.tenant_id, form.text("reason")).await;
    finish(&session, lifted, "hold", "lifted").await
}

async fn finish(
    session: &Session,
    result: Result<(), ApiError>,
    form: &'static str,
    done: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/tenant?done={done}")).into_response()),
        Err(error) => show(session, Some(Refusal::of(error)?.in_form(form, &LABELS))).await,
    }
}

async fn show(session: &Session, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let tenant = session.api.tenant(session.claims.tenant_id).await?;
    let parameters = Parameters::of(&session.location);
    let frame = Frame::of(session, Section::Administration, "Tenant");
    let frame = frame.with_notice(match parameters.get("done") {
        Some("changed") => Some("Saved. Events that are being delivered follow the new settings as well."),
        Some("retained") => Some("Saved. The retention takes effect within minutes."),
        Some("held") => Some("The legal hold is in force: nothing of this tenant is erased."),
        Some("lifted") => {
            Some("The legal hold is lifted. What is due by the retention is erased within minutes.")
        }
        _ => None,
    });
    let (now, status_code) = (clock::now(), refusal.as_ref().map(|refusal| refusal.status));
    let page = TenantPage {
        created: Moment::of(tenant.created_at, now),
        held_since: tenant.legal_hold.as_ref().map(|hold| Moment::of(hold.placed_at, now)),
        may_change: frame.allows(Role::Admin),
        may_hold: frame.allows(Role::Owner),
        frame,
        tenant,
        refusal,
    };
    Ok(View(page).answer(status_code))
}

/// Returns a limit in days as its field has it; empty: without limit.
fn days(limit: &Option<u32>) -> String {
    limit.map(|days| days.to_string()).unwrap_or_default()
}

/// Returns a limit in days in words.
fn kept(limit: &Option<u32>) -> String {
    match limit {
        None => "without limit".to_owned(),
        Some(1) => "1 day".to_owned(),
        Some(days) => format!("{days} days"),
    }
}
