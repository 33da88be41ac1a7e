//! `/destinations`: the list, and the form for a new one.

use askama::Template;
use axum::response::{IntoResponse, Response};

use super::LABELS;
use super::sparkline::{self, Sparkline};
use crate::api::destinations::{Destination, Number, Settings};
use crate::clock;
use crate::pages::{Refusal, ingest_token};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::words::StatusWords;

#[derive(Template)]
#[template(path = "destinations/list.html")]
struct DestinationsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_manage: bool,
    /// What was typed into the form that was refused.
    url: String,
    limit: String,
    refusal: Option<Refusal>,
}

struct Row {
    destination: Destination,
    status: StatusWords,
    /// Deliveries of the last 24 hours; `None`: they cannot be read.
    deliveries: Option<Sparkline>,
    created: Moment,
}

/// Shows the list.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    Ok(View(DestinationsPage::of(&session).await?).into_response())
}

/// Registers a destination and shows its ingest token, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn create(session: Session, form: Form) -> Result<Response, PageError> {
    let (url, limit) = (form.text("url"), form.optional("limit"));
    let settings =
        Settings { url: Some(url), server_rate_limit: limit.map(Number::typed), ..Settings::default() };
    match session.api.register_destination(&settings).await {
        Ok(registered) => {
            let path = format!("/destinations/{}", registered.id);
            Ok(ingest_token::show(&session, "Destination created", path, registered.ingest_token, false))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("", &LABELS);
            let status = refusal.status;
            let page = DestinationsPage {
                url: url.to_owned(),
                limit: limit.unwrap_or_default().to_owned(),
                refusal: Some(refusal),
                ..DestinationsPage::of(&session).await?
            };
            Ok(View(page).with(status))
        }
    }
}

impl DestinationsPage {
    async fn of(session: &Session) -> Result<Self, PageError> {
        let destinations = session.api.destinations().await?;
        let now = clock::now();
        // The list is of use without them.
        let stats = session.api.stats_by_destination(sparkline::start(now)).await.ok();
        let deliveries = |destination: &Destination| {
            let hours = stats.as_ref()?.get(&destination.id);
            Some(Sparkline::of(hours.map_or(&[], Vec::as_slice), now))
        };
        let row = |destination: Destination| Row {
            deliveries: deliveries(&destination),
            status: StatusWords::of_destination(&destination.status),
            created: Moment::of(destination.created_at, now),
            destination,
        };
        let frame = Frame::of(session, Section::Destinations, "Destinations");
        Ok(Self {
            rows: destinations.into_iter().map(row).collect(),
            may_manage: frame.allows(Role::Developer),
            frame,
            url: String::new(),
            limit: String::new(),
            refusal: None,
        })
    }
}
