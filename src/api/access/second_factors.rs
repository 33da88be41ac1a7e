//! Checks of second factors.

use aggregates::ids::UserId;
use aggregates::sealed::{Sealed, TokenHash};
use aggregates::second_factor::{SecondFactor, SecondFactorCommand};
use aggregates::user::{User, UserCommand, UserRefusal, UserState};
use sqlx::PgPool;

use crate::api::http::problem::{FieldErrors, Problem};
use crate::clock;
use crate::event_store::{CommandFailure, EventStore, Metadata};
use crate::secrets::totp::{TotpCode, TotpSecret};
use crate::secrets::vault::{Vault, VaultFailure};

const TOTP_FIELD: &str = "totpCode";
const RECOVERY_FIELD: &str = "recoveryCode";

/// Checks the second factors of users, and remembers which codes were used.
#[derive(Clone, Debug)]
pub(crate) struct SecondFactors {
    pub(crate) store: EventStore,
    pub(crate) vault: Vault,
}

/// Second factor in a request.
#[derive(Clone, Debug)]
pub(crate) enum GivenFactor {
    Totp(TotpCode),
    Recovery(TokenHash),
}

impl GivenFactor {
    /// Returns the one of two optional fields that was sent.
    ///
    /// # Errors
    /// Both were sent.
    pub(crate) fn of(totp: Option<TotpCode>, recovery: Option<TokenHash>) -> Result<Option<Self>, Problem> {
        match (totp, recovery) {
            (Some(_), Some(_)) => {
                let message = format!("must be absent if `{TOTP_FIELD}` is sent");
                Err(Problem::invalid(FieldErrors::of(RECOVERY_FIELD, message)))
            }
            (Some(code), None) => Ok(Some(Self::Totp(code))),
            (None, Some(code)) => Ok(Some(Self::Recovery(code))),
            (None, None) => Ok(None),
        }
    }

    /// Returns the problem that a factor is required and was not sent.
    pub(crate) fn missing() -> Problem {
        Problem::invalid(FieldErrors::of(TOTP_FIELD, format!("or `{RECOVERY_FIELD}` is required")))
    }

    /// Returns the problem that this factor was not accepted.
    pub(crate) fn refused(&self) -> Problem {
        let (field, message) = match self {
            Self::Totp(_) => {
                (TOTP_FIELD, "must be a valid code of the authenticator app that was not used before")
            }
            Self::Recovery(_) => {
                (RECOVERY_FIELD, "must be a recovery code of the user that was not used before")
            }
        };
        Problem::invalid(FieldErrors::of(field, message))
    }
}

impl SecondFactors {
    fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// Seals the secret of a user.
    ///
    /// # Errors
    /// The vault cannot seal it.
    pub(crate) async fn seal(
        &self,
        user_id: UserId,
        user: &UserState,
        secret: &TotpSecret,
    ) -> Result<Sealed, VaultFailure> {
        self.vault.seal(user.tenant_id, &context(user_id), secret.expose_bytes()).await
    }

    /// Returns whether a code was computed from `secret` and is valid now, and notes that it was used. For an enrolment,
    /// which uses a secret once; a code that was used before is accepted.
    ///
    /// # Errors
    /// The vault or the database fails.
    pub(crate) async fn proves(
        &self,
        user_id: UserId,
        user: &UserState,
        secret: &Sealed,
        code: &TotpCode,
    ) -> Result<bool, Problem> {
        let Some(step) = self.step_of(user_id, user, secret, code).await? else { return Ok(false) };
        self.use_step(user_id, step).await?;
        Ok(true)
    }

    /// Returns whether a user's second factor was given, and uses it up: a code of the app, and those before it, and a
    /// recovery code are accepted once.
    ///
    /// # Errors
    /// The vault or the database fails.
    pub(crate) async fn accept(
        &self,
        user_id: UserId,
        user: &UserState,
        given: &GivenFactor,
        metadata: &Metadata,
    ) -> Result<bool, Problem> {
        let SecondFactor::Enabled { secret, .. } = &user.second_factor else { return Ok(false) };
        match given {
            GivenFactor::Totp(code) => match self.step_of(user_id, user, secret, code).await? {
                Some(step) => Ok(self.use_step(user_id, step).await?),
                None => Ok(false),
            },
            GivenFactor::Recovery(code) => {
                let (recovery_code, at) = (code.clone(), clock::now());
                let used =
                    UserCommand::SecondFactor(SecondFactorCommand::UseRecoveryCode { recovery_code, at });
                match self.store.execute::<User>(user_id.0, used, metadata).await {
                    Ok(_) => Ok(true),
                    Err(CommandFailure::Refused(
                        UserRefusal::WrongRecoveryCode
                        | UserRefusal::SecondFactorNotEnabled
                        | UserRefusal::NotRegistered,
                    )) => Ok(false),
                    Err(failure) => Err(failure.into()),
                }
            }
        }
    }

    async fn step_of(
        &self,
        user_id: UserId,
        user: &UserState,
        secret: &Sealed,
        code: &TotpCode,
    ) -> Result<Option<i64>, VaultFailure> {
        let secret = self.vault.open(user.tenant_id, &context(user_id), secret).await?;
        Ok(TotpSecret::from_bytes(secret).step_of(code, clock::now()))
    }

    /// Notes that the code of a step was used. Returns `false` if that code or a later one was used before. Of several
    /// requests with the same code one gets `true`.
    #[tracing::instrument(
        name = "db.second_factor_steps.use",
        level = "debug",
        skip_all,
        err(level = "debug")
    )]
    async fn use_step(&self, user_id: UserId, step: i64) -> Result<bool, sqlx::Error> {
        let used = sqlx::query!(
            r#"
            INSERT INTO second_factor_steps (user_id, step) VALUES ($1, $2)
            ON CONFLICT (user_id) DO UPDATE SET step = excluded.step
            WHERE second_factor_steps.step < excluded.step
            "#,
            user_id.0,
            step,
        )
        .execute(self.pool())
        .await?;
        Ok(used.rows_affected() == 1)
    }
}

/// Context that the sealed secret of a user is bound to.
fn context(user_id: UserId) -> String {
    format!("second-factor:{user_id}")
}
