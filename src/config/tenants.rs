//! Settings of tenants: who may register one, and how much each may use.

use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use super::values::{ValueProblem, bytes_between, number_between};

/// Registration of tenants, and the limits of each.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantSettings {
    /// Who may register a tenant: open, invitation or closed.
    ///
    /// open: every client of the API. invitation: a client that sends an invitation in the field `invitation`,
    /// which `hooksentry invite-tenant` issues. closed: no client. The default is what clients of the API expect;
    /// an installation that strangers can reach should not keep it.
    #[arg(
        long,
        env = "HOOKSENTRY_REGISTRATION",
        value_name = "open|invitation|closed",
        default_value = "open"
    )]
    pub registration: Registration,

    /// Maximum number of webhooks that a tenant may send per second, on average over ten seconds; 0 means no
    /// limit.
    ///
    /// Further ones are answered with status 429. Each process with the role api counts for itself. Lower: a
    /// source with a burst has to send its webhooks again. Higher: one tenant may use more of what all share.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_EVENTS_PER_SECOND",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number_between::<u32>(0, 1_000_000)
    )]
    pub tenant_events_per_second: u32,

    /// Maximum size of the stored payloads of a tenant, received and delivered ones; 0 means no limit.
    ///
    /// Further webhooks are answered with status 429 until retention has erased payloads. A tenant exceeds it by
    /// what it sends within a few seconds, or while the projector is behind. Lower: the webhooks of a tenant that
    /// keeps its payloads for long are refused. Higher: one tenant may use more of the disk that all share.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "0",
        value_parser = bytes_between(0, 1 << 50)
    )]
    pub tenant_payload_bytes: usize,

    /// Maximum number of destinations of a tenant; 0 means no limit.
    ///
    /// Requests at the same moment may exceed it by their number. Lower: an application with many receivers
    /// cannot register all of them. Higher: one tenant can fill the memory of the dispatcher.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_DESTINATIONS",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_destinations: u32,

    /// Maximum number of senders of a tenant, over all of its destinations; 0 means no limit.
    ///
    /// Requests at the same moment may exceed it by their number. Lower: an application cannot give each source
    /// a token of its own. Higher: one tenant can fill the table in which every webhook is looked up.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_SENDERS",
        value_name = "NUMBER",
        default_value = "10000",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_senders: u32,

    /// Maximum number of users of a tenant; 0 means no limit.
    ///
    /// Requests at the same moment may exceed it by their number. Lower: a large team cannot give each member an
    /// account. Higher: one tenant can reserve many email addresses, and have as many passwords hashed.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_USERS",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_users: u32,

    /// Maximum number of API keys of a tenant, without those that were revoked; 0 means no limit.
    ///
    /// Requests at the same moment may exceed it by their number. Lower: an application cannot give each source
    /// a key of its own. Higher: one tenant can fill the table in which every webhook is looked up.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_API_KEYS",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_api_keys: u32,

    /// Maximum number of portal links of a tenant that are in force; 0 means no limit.
    ///
    /// Requests at the same moment may exceed it by their number. Lower: an application cannot give each of its
    /// customers a link. Higher: one tenant can fill the table in which every request with a link is looked up.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_PORTAL_LINKS",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_portal_links: u32,

    /// Maximum number of bulk replays and cancellations of a tenant in progress, paused ones included.
    ///
    /// Lower: a tenant waits for the end of one before it can request another. Higher: one tenant may use more of the
    /// steps that all share.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_BULK_ACTIONS",
        value_name = "NUMBER",
        default_value = "2",
        value_parser = number_between::<u32>(1, 100)
    )]
    pub tenant_bulk_actions: u32,

    /// Maximum rate of a bulk replay or cancellation, in events per second.
    ///
    /// A request may name a lower one; the default is 50. Lower: after an outage events are replayed for longer. Higher:
    /// replays may delay the deliveries of new events to the same destination.
    #[arg(
        long,
        env = "HOOKSENTRY_BULK_ACTION_RATE",
        value_name = "NUMBER",
        default_value = "500",
        value_parser = number_between::<u32>(1, 10_000)
    )]
    pub bulk_action_rate: u32,
}

impl TenantSettings {
    /// Limit on the bytes of the stored payloads of a tenant; `None`: no limit.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.tenant_payload_bytes as u64)
    }

    /// Limit on the webhooks of a tenant per second; `None`: no limit.
    #[must_use]
    pub fn events_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.tenant_events_per_second)
    }
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
