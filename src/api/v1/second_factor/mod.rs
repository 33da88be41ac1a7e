//! Second factor of the caller: enrolment, new recovery codes, and its end.

pub(crate) mod begin;
pub(crate) mod confirm;
pub(crate) mod disable;
pub(crate) mod recovery_codes;

use aggregates::email::Email;
use aggregates::second_factor::SecondFactorCommand;
use aggregates::user::{User, UserCommand, UserRefusal, UserState};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::access::second_factors::GivenFactor;
use crate::api::commands::email_of;
use crate::api::http::fields::body;
use crate::api::http::fields::text::{CurrentPasswordText, RecoveryCodeText, TotpCodeText};
use crate::api::http::problem::Problem;
use crate::api::v1::users::Users;
use crate::secrets::recovery_codes::NewRecoveryCodes;

body! {
    /// Password and second factor of the caller: either `totpCode` or `recoveryCode`.
    BothFactors {
        current_password: CurrentPasswordText = "currentPassword",
        totp_code: Option<TotpCodeText> = "totpCode",
        recovery_code: Option<RecoveryCodeText> = "recoveryCode",
    }
}

/// Recovery codes, each of which replaces a code of the authenticator app once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryCodes)]
pub(crate) struct RecoveryCodesView {
    /// Ten codes, which are shown only once.
    #[schema(examples(json!(["QRX3-VVEC-7HNT-K5WA-2PLD-ZM4Y"])))]
    recovery_codes: Vec<String>,
}

impl RecoveryCodesView {
    fn of(new: &NewRecoveryCodes) -> Self {
        let shown = new.codes.iter().map(|code| code.expose_secret().to_owned());
        Self { recovery_codes: shown.collect() }
    }
}

impl Users {
    /// Returns the caller as the log knows the user now, with the email address.
    async fn load_caller(&self, caller: &Caller) -> Result<(UserState, Email), Problem> {
        let store = self.commands.store();
        let loaded = store.load::<User>(caller.user_id.0).await?;
        match &loaded.state {
            User::Registered(user) => Ok((user.clone(), email_of(store, &loaded).await?)),
            User::Unknown | User::Deleted | User::Erased => Err(Problem::not_found("user")),
        }
    }

    /// Checks password and second factor of the caller.
    ///
    /// # Errors
    /// The caller has no second factor, or one of both is missing or wrong.
    async fn check_both_factors(&self, caller: &Caller, given: BothFactors) -> Result<(), Problem> {
        let BothFactors { current_password, totp_code, recovery_code } = given;
        let factor = GivenFactor::of(totp_code, recovery_code)?.ok_or_else(GivenFactor::missing)?;
        let (user, email) = self.load_caller(caller).await?;
        if !user.second_factor.is_enabled() {
            return Err(UserRefusal::SecondFactorNotEnabled.into());
        }
        self.check_current_password(caller, &email, Some(current_password)).await?;
        let metadata = caller.metadata();
        let accepted = self.second_factors.accept(caller.user_id, &user, &factor, &metadata);
        self.count_guess(caller, &email, accepted, || factor.refused()).await
    }

    /// Counts a guess at a code as a failed login, before the code is checked: otherwise requests at the same moment
    /// could try more than the limit allows. A right code takes it back.
    ///
    /// # Errors
    /// The limit is reached, `is_right` fails, or the code is wrong.
    async fn count_guess(
        &self,
        caller: &Caller,
        email: &Email,
        is_right: impl Future<Output = Result<bool, Problem>>,
        refused: impl FnOnce() -> Problem,
    ) -> Result<(), Problem> {
        self.failures.count(caller.client(), email)?;
        if !is_right.await? {
            return Err(refused());
        }
        self.failures.clear(email);
        Ok(())
    }

    async fn change_second_factor(
        &self,
        caller: &Caller,
        command: SecondFactorCommand,
    ) -> Result<(), Problem> {
        let command = UserCommand::SecondFactor(command);
        self.commands.execute::<User>(caller.user_id.0, command, &caller.metadata()).await?;
        Ok(())
    }
}
