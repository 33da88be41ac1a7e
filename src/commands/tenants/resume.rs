//! `hooksentry resume-tenant`: resumes a suspended tenant.

use std::io::{self, Write};

use aggregates::ids::TenantId;
use aggregates::tenant::TenantCommand;

use super::execute;
use crate::clock;
use crate::commands::maintenance::MaintenanceSettings;

/// Resume a suspended tenant: accept its webhooks and logins again, and deliver what waits.
///
/// The command returns when the tenant is resumed. It can be repeated.
#[derive(Debug, clap::Args)]
pub struct ResumeTenant {
    /// Id of the tenant.
    #[arg(value_name = "ID")]
    pub id: TenantId,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl ResumeTenant {
    pub(in crate::commands) async fn run(self) -> anyhow::Result<()> {
        let command = TenantCommand::Resume { at: clock::now() };
        match execute(&self.settings, self.id, command).await? {
            true => writeln!(io::stdout(), "tenant {} is resumed", self.id)?,
            false => writeln!(io::stdout(), "tenant {} was not suspended", self.id)?,
        }
        Ok(())
    }
}
