//! `/portal-links`: links for customers to the deliveries of one destination.

use std::collections::HashMap;

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::shown_once;
use crate::api::destinations::Destination;
use crate::api::portal::{NewLink, PortalLink};
use crate::clock;
use crate::pages::{Labels, Refusal};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;

const LABELS: &Labels = &[
    ("destinationId", "Destination"),
    ("access", "The customer may"),
    ("label", "Customer"),
    ("expiresInSeconds", "Expires after"),
];
/// Offered validities, in seconds and in words.
const VALIDITIES: [(&str, &str); 4] =
    [("86400", "1 day"), ("604800", "7 days"), ("2592000", "30 days"), ("7776000", "90 days")];

#[derive(Template)]
#[template(path = "administration/portal_links.html")]
struct PortalLinksPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Links of the tenant, of which the page shows the first ones.
    total: usize,
    destinations: Vec<Destination>,
    new: Typed,
    refusal: Option<Refusal>,
}

struct Row {
    link: PortalLink,
    destination: String,
    expires: Moment,
    revoked: Option<Moment>,
    created: Moment,
}

/// What was typed into the form that was refused.
#[derive(Clone, Debug, Default)]
struct Typed {
    destination_id: String,
    access: String,
    label: String,
    seconds: String,
}

impl PortalLinksPage {
    fn is_typed(&self, destination: &Destination) -> bool {
        self.new.destination_id == destination.id.to_string()
    }

    /// Returns the offered validities in seconds and in words, and whether each was chosen.
    fn validities(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        VALIDITIES.into_iter().map(|(seconds, words)| (seconds, words, self.new.seconds == seconds))
    }
}

/// Shows the list.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let destination_id = Parameters::of(&session.location).get("destination").unwrap_or_default().to_owned();
    show(&session, Typed { destination_id, seconds: "604800".to_owned(), ..Typed::default() }, None).await
}

/// Creates a link and shows it, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn create(session: Session, form: Form) -> Result<Response, PageError> {
    let typed = Typed {
        destination_id: form.text("destination").to_owned(),
        access: form.text("access").to_owned(),
        label: form.text("label").to_owned(),
        seconds: form.text("seconds").to_owned(),
    };
    let new = NewLink {
        destination_id: &typed.destination_id,
        access: &typed.access,
        label: &typed.label,
        expires_in_seconds: &typed.seconds,
    };
    match session.api.create_portal_link(&new).await {
        Ok(path) => {
            let lead = "Send it to the customer over a channel that others do not read: it needs no password. It is \
                        shown only now: copy it before you leave.";
            let secret = ("Portal link", format!("{}{path}", session.cookies.base()));
            Ok(shown_once::show(&session, "Portal link created", lead.to_owned(), secret, "/portal-links"))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("new", LABELS);
            show(&session, typed, Some(refusal)).await
        }
    }
}

/// Revokes a link.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn revoke(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    match session.api.revoke_portal_link(id).await {
        Ok(()) => Ok(Redirect::to("/portal-links?done=revoked").into_response()),
        Err(error) => show(&session, Typed::default(), Some(Refusal::of(error)?)).await,
    }
}

async fn show(session: &Session, new: Typed, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let links = session.api.portal_links().await?;
    let destinations = session.api.destinations().await?;
    let urls: HashMap<Uuid, &str> = destinations.iter().map(|to| (to.id, to.url.as_str())).collect();
    let parameters = Parameters::of(&session.location);
    let notice =
        (parameters.get("done") == Some("revoked")).then_some("Revoked. The link shows nothing any more.");
    let frame = Frame::of(session, Section::Administration, "Portal links").with_notice(notice);
    let (now, status_code) = (clock::now(), refusal.as_ref().map(|refusal| refusal.status));
    let row = |link: PortalLink| Row {
        destination: urls
            .get(&link.destination_id)
            .map_or_else(|| link.destination_id.to_string(), |url| (*url).to_owned()),
        expires: Moment::of(link.expires_at, now),
        revoked: link.revoked_at.map(|at| Moment::of(at, now)),
        created: Moment::of(link.created_at, now),
        link,
    };
    let rows = links.items.into_iter().map(row).collect();
    let page = PortalLinksPage { frame, rows, total: links.total, destinations, new, refusal };
    Ok(View(page).answer(status_code))
}
