//! The page of the account.

use askama::Template;
use axum::response::Response;
use uuid::Uuid;

use crate::api::users::User;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words;

#[derive(Template)]
#[template(path = "account/one.html")]
struct AccountPage {
    frame: Frame,
    user: User,
    role_words: &'static str,
    sessions: Vec<SessionRow>,
    has_others: bool,
    may_enrol: bool,
    refusal: Option<Refusal>,
}

struct SessionRow {
    id: Uuid,
    is_current: bool,
    opened: Moment,
    expires: Moment,
}

/// Shows the account.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, None).await
}

pub(super) async fn show(session: &Session, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let user = session.api.user(session.claims.user_id).await?;
    let sessions = session.api.sessions().await?.items;
    let now = clock::now();
    let parameters = Parameters::of(&session.location);
    let frame = Frame::of(session, Section::Account, "Your account");
    let frame = frame.with_notice(match parameters.get("done") {
        Some("ended") => Some("The session is ended."),
        Some("others-ended") => Some("All other sessions are ended."),
        Some("factor-disabled") => Some("Disabled. Your password alone suffices to sign in."),
        _ => None,
    });
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = AccountPage {
        role_words: words::role(&user.role).unwrap_or_default(),
        has_others: sessions.iter().any(|session| !session.is_current),
        sessions: sessions
            .into_iter()
            .map(|session| SessionRow {
                id: session.id,
                is_current: session.is_current,
                opened: Moment::of(session.opened_at, now),
                expires: Moment::of(session.expires_at, now),
            })
            .collect(),
        may_enrol: frame.allows(Role::Admin),
        frame,
        user,
        refusal,
    };
    Ok(View(page).answer(status_code))
}
