//! `hooksentry suspend-tenant`: suspends a tenant.

use std::io::{self, Write};

use aggregates::ids::TenantId;
use aggregates::tenant::TenantCommand;
use aggregates::text::{self, SUSPENSION_REASON_CHARS_MAX, TextProblem};

use super::execute;
use crate::clock;
use crate::commands::maintenance::MaintenanceSettings;

/// Suspend a tenant: refuse its webhooks and logins, and deliver nothing for it.
///
/// Webhooks and all requests of its users are answered with status 403. Attempts in progress end; everything else that
/// waits for delivery waits with its counts until the tenant is resumed. Retention continues. The command returns when
/// the suspension is in force. It can be repeated.
#[derive(Debug, clap::Args)]
pub struct SuspendTenant {
    /// Id of the tenant.
    #[arg(value_name = "ID")]
    pub id: TenantId,
    /// Reason, which is recorded in the log. The API does not show it.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl SuspendTenant {
    pub(in crate::commands) async fn run(self) -> anyhow::Result<()> {
        let command = TenantCommand::Suspend { reason: self.reason, at: clock::now() };
        match execute(&self.settings, self.id, command).await? {
            true => writeln!(io::stdout(), "tenant {} is suspended", self.id)?,
            false => writeln!(io::stdout(), "tenant {} was suspended already", self.id)?,
        }
        Ok(())
    }
}

fn reason(text: &str) -> Result<String, TextProblem> {
    text::name(text, SUSPENSION_REASON_CHARS_MAX)
}
