//! `hooksentry invite-tenant`: issues an invitation to register a tenant.

use std::io::{self, Write};
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::config::{LogSettings, SigningSettings, duration_between};
use crate::secrets::tenant_invitations::{TenantInvitation, TenantInvitations};
use crate::telemetry::Telemetry;
use crate::{clock, identifiers};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Print an invitation to register a tenant, for installations with HOOKSENTRY_REGISTRATION=invitation.
///
/// The invitation can be used once, in the field `invitation` of POST /api/v1/tenants. It is signed with the first key of
/// HOOKSENTRY_JWT_KEY, which must be that of the service, and not stored: it cannot be revoked unless that key is
/// removed.
#[derive(Debug, clap::Args)]
pub struct InviteTenant {
    /// Time for which the invitation is valid, such as 12h or 7d.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "7d",
        value_parser = duration_between(Duration::from_secs(60), 365 * DAY)
    )]
    pub expires: Duration,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

impl InviteTenant {
    pub(in crate::commands) fn run(self) -> anyhow::Result<()> {
        Telemetry::start(&self.log)?;
        let invitations = TenantInvitations::new(&self.signing.require()?);
        let invitation =
            TenantInvitation { id: identifiers::new_id(), expires_at: clock::now() + self.expires };
        writeln!(io::stdout(), "{}", invitations.issue(invitation).expose_secret())?;
        Ok(())
    }
}
