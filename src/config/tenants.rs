//! Settings of tenants: who may register one.

use std::str::FromStr;

use super::values::ValueProblem;

/// Registration of tenants.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantSettings {
    /// Who may register a tenant: open, invitation or closed.
    ///
    /// open: every client of the API. invitation: a client that sends an invitation in the field `invitation`, which
    /// `hooksentry invite-tenant` issues. closed: no client. The default is what clients of the API expect; an
    /// installation that strangers can reach should not keep it.
    #[arg(
        long,
        env = "HOOKSENTRY_REGISTRATION",
        value_name = "open|invitation|closed",
        default_value = "open"
    )]
    pub registration: Registration,
}

/// Who may register a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Open,
    Invitation,
    Closed,
}

impl FromStr for Registration {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "invitation" => Ok(Self::Invitation),
            "closed" => Ok(Self::Closed),
            _ => Err(ValueProblem("must be open, invitation or closed".to_owned())),
        }
    }
}
