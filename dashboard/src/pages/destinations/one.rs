//! `/destinations/{id}`: state and settings of one destination.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use uuid::Uuid;

use super::LABELS;
use crate::api::destinations::{Destination, Number, Settings};
use crate::api::problem::ApiError;
use crate::api::senders::Sender;
use crate::api::stats::Stats;
use crate::clock;
use crate::pages::overview::chart::Chart;
use crate::pages::overview::time_to_deliver;
use crate::pages::{Refusal, ingest_token};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::StatusWords;

/// Hours of the statistics.
const STATISTICS_HOURS: i64 = 24;

#[derive(Template)]
#[template(path = "destinations/one.html")]
struct DestinationPage {
    frame: Frame,
    destination: Destination,
    status: StatusWords,
    created: Moment,
    updated: Moment,
    stats: Stats,
    deliveries: Chart,
    senders: Vec<SenderRow>,
    held_since: Option<Moment>,
    may_manage: bool,
    may_hold: bool,
    refusal: Option<Refusal>,
}

struct SenderRow {
    sender: Sender,
    created: Moment,
}

/// Shows a destination.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session, id, None).await
}

/// Changes URL and limit.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn change(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    let limit = form.optional("limit").map(Number::typed);
    let settings = Settings { url: form.optional("url"), server_rate_limit: limit, ..Settings::default() };
    let changed = session.api.change_destination(id, &settings).await;
    finish(&session, id, changed, "changed").await
}

/// Switches a destination on or off.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn switch(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    let (status, done) =
        if form.text("to") == "on" { ("Active", "switched-on") } else { ("Inactive", "switched-off") };
    let settings = Settings { status: Some(status), ..Settings::default() };
    let switched = session.api.change_destination(id, &settings).await;
    finish(&session, id, switched, done).await
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
    match session.api.replace_ingest_token(id).await {
        Ok(token) => {
            let path = format!("/destinations/{id}");
            Ok(ingest_token::show(&session, "New ingest token", path, token, true))
        }
        Err(error) => show(&session, id, Some(Refusal::of(error)?)).await,
    }
}

async fn finish(
    session: &Session,
    id: Uuid,
    result: Result<(), ApiError>,
    done: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/destinations/{id}?done={done}")).into_response()),
        Err(error) => show(session, id, Some(Refusal::of(error)?.in_form("", &LABELS))).await,
    }
}

pub(super) async fn show(
    session: &Session,
    id: Uuid,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let destination = session.api.destination(id).await?;
    let senders = session.api.senders(id).await?;
    let now = clock::now();
    let from = now - TimeDelta::hours(STATISTICS_HOURS - 1);
    let stats = session.api.stats_of(from, "hour", Some(id)).await?;
    let parameters = Parameters::of(&session.location);
    let frame = Frame::of(session, Section::Destinations, "Destination");
    let frame = frame.with_notice(match parameters.get("done") {
        Some("changed") => Some("Saved. Attempts from now on use these settings."),
        Some("switched-on") => Some("Switched on. Its events are delivered."),
        Some("sender-deleted") => Some("The sender is deleted. Its ingest URL is refused; its events stay."),
        Some("held") => Some("The legal hold is in force: no payload of an event to it is erased."),
        Some("lifted") => {
            Some("The legal hold is lifted. What is due by the retention is erased within minutes.")
        }
        Some("switched-off") => Some("Switched off. It accepts no events, and nothing is sent to it."),
        _ => None,
    });
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = View(DestinationPage {
        status: StatusWords::of_destination(&destination.status),
        created: Moment::of(destination.created_at, now),
        updated: Moment::of(destination.updated_at, now),
        deliveries: Chart::of_deliveries(&stats.points, "hour"),
        stats,
        senders: senders
            .into_iter()
            .map(|sender| SenderRow { created: Moment::of(sender.created_at, now), sender })
            .collect(),
        held_since: destination.legal_hold.as_ref().map(|hold| Moment::of(hold.placed_at, now)),
        may_manage: frame.allows(Role::Developer),
        may_hold: frame.allows(Role::Owner),
        frame,
        destination,
        refusal,
    });
    Ok(page.answer(status_code))
}
