//! `POST /api/v1/auth/login`

use std::num::NonZeroU32;
use std::time::Duration;

use aggregates::email::Email;
use aggregates::ids::SessionId;
use aggregates::role::UserStatus;
use aggregates::session::{Session, SessionCommand};
use aggregates::user::{User, UserCommand};
use axum::Json;
use axum::extract::State;
use projections::users;
use secrecy::SecretString;

use super::refresh_token::TokenFamily;
use super::{Auth, Tokens};
use crate::api::access::access_tokens::Bearer;
use crate::api::access::second_factors::GivenFactor;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::text::{EmailText, PasswordText, RecoveryCodeText, TotpCodeText};
use crate::api::http::problem::{Kind, Problem, chain};
use crate::api::http::request_context::RequestContext;
use crate::config::RateLimit;
use crate::secrets::passwords::HashSlot;
use crate::security_log::{self, SecurityEvent, Subject};
use crate::{clock, identifiers};

/// A user's stream is loaded by every command, so guesses at the password must not make it long.
pub(crate) const RECORDED_REFUSALS: RateLimit =
    RateLimit { most: NonZeroU32::MIN, window: Duration::from_secs(3_600) };

const ROUTE: &str = "/api/v1/auth/login";

body! {
    /// Email address and password of a user and, if the user has a second factor, either `totpCode` or `recoveryCode`.
    LoginCredentials {
        email: EmailText = "email",
        password: PasswordText = "password",
        /// Code of the authenticator app, which is accepted once.
        totp_code: Option<TotpCodeText> = "totpCode",
        /// Recovery code, which is accepted once.
        recovery_code: Option<RecoveryCodeText> = "recoveryCode",
    }
}

/// Log in
///
/// If the user has a second factor, a login with the right password and without a code is answered with the problem
/// `second-factor-required`. A wrong code is answered and counted like a wrong password.
///
/// After ten failures within five minutes, from one address or for one email address, further attempts are refused
/// with 429 until the five minutes are over. A success clears the failures for its email address, from every address.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "Auth", request_body = LoginCredentials,
    responses((status = 200, body = Tokens, description = "The tokens of a new session."),
        (status = 400), (status = 401), (status = 403), (status = 429)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<Json<Tokens>, Problem> {
    let LoginCredentials { email, password, totp_code, recovery_code } = body.read_small(&()).await?;
    let factor = GivenFactor::of(totp_code, recovery_code)?;
    let user = auth.verify(&email, password, &context).await?;
    if user.has_second_factor {
        auth.verify_second_factor(&user, &email, factor, &context).await?;
    }
    auth.failures.clear(&email);
    if user.tenant_is_suspended {
        return Err(Problem::tenant_suspended());
    }
    let bearer = Bearer {
        user_id: user.id,
        session_id: SessionId(identifiers::new_id()),
        tenant_id: user.tenant_id,
        email: email.to_string(),
        role: user.role,
    };
    let now = clock::now();
    let family = TokenFamily::generate();
    let (tokens, issued) = auth.issue(&bearer, &family, now, now)?;
    let metadata = context.metadata_of_user(user.tenant_id, user.id);
    let open = SessionCommand::Open {
        tenant_id: user.tenant_id,
        user_id: user.id,
        credentials_version: u64::try_from(user.credentials_version).unwrap_or_default(),
        token_family_hash: family.hash(),
        tokens: issued,
        at: now,
    };
    auth.commands.execute::<Session>(bearer.session_id.0, open, &metadata).await?;
    Ok(Json(tokens))
}

impl Auth {
    /// Returns the active user with this email address and password.
    async fn verify(
        &self,
        email: &Email,
        password: SecretString,
        context: &RequestContext,
    ) -> Result<users::Login, Problem> {
        self.failures.check(context.client, email)?;
        let user = users::by_email(&mut *self.commands.pool().acquire().await?, email).await?;
        if user.as_ref().is_some_and(|user| !user.is_current) {
            return Err(Problem::read_model_behind());
        }
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let slot = self.passwords.slot(context.requester()).await?;
        // Concurrent attempts may have used up the limit while this one waited, and while it was verified. Without
        // these checks a client could have as many passwords hashed, and try as many, as it has connections.
        self.failures.check(context.client, email)?;
        let verified = slot.verify(password.clone(), hash).await;
        match &user {
            Some(user) if verified && slot.is_outdated(&user.password_hash) => {
                // The login succeeds without it.
                if let Err(problem) = self.rehash(user, password, slot).await {
                    tracing::warn!(?problem, "a password keeps a hash with parameters of the past");
                }
            }
            _ => drop(slot),
        }
        self.failures.check(context.client, email)?;
        match user {
            Some(user) if verified && user.status == UserStatus::Active => Ok(user),
            user => {
                let subject = user.as_ref().map(subject_of);
                if let Some(user) = user {
                    self.record_refusal(&user, context);
                }
                // It counts whether or not the user exists: the limit must not reveal who does.
                self.failures.count(context.client, email).map_err(|locked| locked.about(subject))?;
                Err(wrong_credentials().about(subject))
            }
        }
    }

    /// Replaces the hash of a user by one with the parameters of today.
    async fn rehash(
        &self,
        user: &users::Login,
        password: SecretString,
        slot: HashSlot,
    ) -> Result<(), Problem> {
        let new = slot.hash(password).await?;
        drop(slot);
        let mut connection = self.commands.pool().acquire().await?;
        users::replace_hash(&mut connection, user.id, &user.password_hash, &new).await?;
        Ok(())
    }

    /// Checks the second factor of a user who gave the right password.
    async fn verify_second_factor(
        &self,
        login: &users::Login,
        email: &Email,
        factor: Option<GivenFactor>,
        context: &RequestContext,
    ) -> Result<(), Problem> {
        let subject = Some(subject_of(login));
        let Some(factor) = factor else {
            let detail = "The user has a second factor. Log in with `totpCode` or `recoveryCode` as well.";
            return Err(Problem::new(Kind::SecondFactorRequired, detail).about(subject));
        };
        // It counts before it is checked: requests at the same moment must not try more codes than the limit allows. A
        // success clears it.
        self.failures.count(context.client, email).map_err(|locked| locked.about(subject))?;
        let metadata = context.metadata_of_user(login.tenant_id, login.id);
        let accepted = match self.commands.store().load::<User>(login.id.0).await?.state {
            User::Registered(user) => self.second_factors.accept(login.id, &user, &factor, &metadata).await?,
            User::Unknown | User::Deleted | User::Erased => false,
        };
        if accepted {
            return Ok(());
        }
        // Unlike a wrong password it means that the password is known to who guesses.
        security_log::report(SecurityEvent {
            kind: "second-factor-refused",
            route: ROUTE,
            subject,
            client: Some(context.client),
            request_id: Some(&context.request_id),
        });
        self.record_refusal(login, context);
        Err(wrong_credentials().about(subject))
    }

    /// Records that logins of an existing user are refused, once within an hour. Happens after the response: its
    /// duration would reveal that the user exists.
    fn record_refusal(&self, user: &users::Login, context: &RequestContext) {
        if self.recorded_refusals.hit(user.id).is_err() {
            return;
        }
        let (store, id) = (self.commands.store().clone(), user.id.0);
        let metadata = context.metadata_of_stranger(user.tenant_id, user.id);
        self.tasks.spawn(async move {
            let refuse = UserCommand::RefuseLogin { at: clock::now() };
            if let Err(failure) = store.execute::<User>(id, refuse, &metadata).await {
                tracing::warn!(error = chain(&failure), "a refused login could not be recorded");
            }
        });
    }
}

fn subject_of(user: &users::Login) -> Subject {
    Subject { tenant_id: user.tenant_id, user_id: Some(user.id) }
}

/// Returns the same answer for a wrong password and a wrong code.
fn wrong_credentials() -> Problem {
    Problem::new(
        Kind::WrongCredentials,
        "The email address, the password or the code is wrong, or the user is inactive.",
    )
}
