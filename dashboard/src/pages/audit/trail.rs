//! `/audit`: who did what, when, to what, and from where.

use askama::Template;
use axum::response::Response;

use super::entry::EntryRow;
use super::filter::Filter;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::{AUDIT_TYPES, spoken};

const LABELS: [(&str, &str); 5] =
    [("From", "From"), ("To", "To"), ("Type", "What"), ("Actor", "Who"), ("Subject", "Subject")];

#[derive(Template)]
#[template(path = "audit/trail.html")]
struct TrailPage {
    frame: Frame,
    filter: Filter,
    /// Values and labels of the filter by actor.
    actors: Vec<(String, String)>,
    rows: Vec<EntryRow>,
    /// URL of the next page.
    older: Option<String>,
    refusal: Option<Refusal>,
}

/// Shows a page of the trail.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let filter = Filter::of(&Parameters::of(&session.location));
    let frame = Frame::of(&session, Section::Audit, "Audit trail");
    let (found, refusal) = match session.api.audit_trail(&filter.0).await {
        Ok(found) => (Some(found), None),
        // Without the right to read the trail there is nothing to filter.
        Err(error) if error.is("role-forbids") => return Err(error.into()),
        Err(error) => (None, Some(Refusal::of(error)?.in_form("", &LABELS))),
    };
    let now = clock::now();
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let next = found.as_ref().and_then(|found| found.next.clone());
    let page = TrailPage {
        frame,
        actors: actors(&session, &filter).await?,
        older: next.map(|next| filter.page(Some(&next))),
        filter,
        rows: found
            .map(|found| found.items.into_iter().map(|entry| EntryRow::of(entry, now)).collect())
            .unwrap_or_default(),
        refusal,
    };
    Ok(View(page).answer(status_code))
}

/// Streams what matches as a file.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn export(session: Session) -> Result<Response, PageError> {
    let parameters = Parameters::of(&session.location);
    let format = if parameters.get("format") == Some("csv") { "csv" } else { "ndjson" };
    Ok(session.api.audit_export(&Filter::of(&parameters).0, format).await?)
}

async fn actors(session: &Session, filter: &Filter) -> Result<Vec<(String, String)>, PageError> {
    let users = session.api.users().await?.items;
    let mut actors: Vec<_> =
        users.into_iter().map(|user| (format!("user:{}", user.id), user.email)).collect();
    actors.push(("operator".to_owned(), "The operator".to_owned()));
    actors.push(("anonymous".to_owned(), "Visitors".to_owned()));
    if let Some(actor) =
        filter.0.actor.as_ref().filter(|actor| actors.iter().all(|(value, _)| value != *actor))
    {
        actors.push((actor.clone(), actor.clone()));
    }
    Ok(actors)
}
