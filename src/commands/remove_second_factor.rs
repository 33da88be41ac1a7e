//! `hooksentry remove-second-factor`: removes the second factor of a user.

use std::io::{self, Write};

use aggregates::email::Email;
use aggregates::second_factor::SecondFactorCommand;
use aggregates::user::{User, UserCommand};
use anyhow::bail;
use projections::users;

use super::maintenance::MaintenanceSettings;
use crate::event_store::{self, EventStore, LogNotifier, Metadata};
use crate::{clock, database};

/// Remove the second factor of a user who has lost the authenticator app and the recovery codes.
///
/// It is for the last Owner of a tenant; Owners remove those of other users with the API. Make sure that the user asks for
/// it. The user's password alone suffices as soon as a process with the role projector has applied the removal.
#[derive(Debug, clap::Args)]
pub struct RemoveSecondFactor {
    /// Email address of the user.
    #[arg(value_name = "EMAIL", value_parser = Email::parse)]
    pub email: Email,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl RemoveSecondFactor {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.settings.begin()?;
        let mut connection = self.settings.connect_to_current(&url).await?;
        event_store::require_own_log(&mut connection).await?;
        let Some(user) = users::by_email(&mut connection, &self.email).await? else {
            bail!("no user has the email address {}", self.email)
        };
        let pool = database::connect(&self.settings.database, &url, self.settings.start.timeout).await?;
        let store = EventStore::new(pool.clone(), LogNotifier::within_process());
        let disable = UserCommand::SecondFactor(SecondFactorCommand::Disable { at: clock::now() });
        store.execute::<User>(user.id.0, disable, &Metadata::of_operator(user.tenant_id)).await?;
        pool.close().await;
        writeln!(io::stdout(), "the user {} of the tenant {} has no second factor", user.id, user.tenant_id)?;
        Ok(())
    }
}
