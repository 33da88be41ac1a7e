//! Settings of what destinations may point at.

use aggregates::target_rules::TargetRules;

use super::values::{Hosts, Networks, Ports, boolean, hosts, networks, ports};

/// URLs and addresses that destinations and token endpoints may have.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Targets")]
pub struct TargetSettings {
    /// Whether destinations may have http URLs and any address, except those of metadata services.
    ///
    /// For development only: if true, every user who may create a destination can reach the machines of this
    /// network. The default of `dev` is true.
    #[arg(
        long,
        env = "HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS",
        value_name = "true|false",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub allow_insecure_destinations: bool,

    /// Whether destinations may have http URLs.
    ///
    /// Payloads, signatures and credentials are then sent unencrypted to those that do.
    #[arg(
        long,
        env = "HOOKSENTRY_ALLOW_HTTP_DESTINATIONS",
        value_name = "true|false",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub allow_http_destinations: bool,

    /// Networks that destinations may be in although they are not public.
    ///
    /// Networks such as 10.1.0.0/16,fd00::/8, of receivers of your own. Metadata services of clouds cannot be allowed.
    /// Names of such receivers must be complete: search domains are not used.
    #[arg(long, env = "HOOKSENTRY_ALLOWED_NETWORKS", value_name = "NETWORKS", value_parser = networks)]
    pub allowed_networks: Option<Networks>,

    /// Networks that no destination may be in, even if they are public or allowed.
    ///
    /// Networks such as 198.51.100.0/24,2001:db8::/32: public addresses of your own that are not meant for tenants.
    #[arg(long, env = "HOOKSENTRY_DENIED_NETWORKS", value_name = "NETWORKS", value_parser = networks)]
    pub denied_networks: Option<Networks>,

    /// Ports that destinations may have.
    ///
    /// Ports such as 443,8443. If it is not set, every port is allowed, and tenants can find out which ports of public
    /// hosts are open.
    #[arg(long, env = "HOOKSENTRY_ALLOWED_PORTS", value_name = "PORTS", value_parser = ports)]
    pub allowed_ports: Option<Ports>,

    /// Hosts under which the API itself is reached, and which no destination may name.
    ///
    /// Names or addresses such as hooks.example.com. A webhook to one of them would come back as the next event. If it is
    /// not set, such loops end at `HOOKSENTRY_HOPS_MAX`.
    #[arg(long, env = "HOOKSENTRY_OWN_HOSTS", value_name = "HOSTS", value_parser = hosts)]
    pub own_hosts: Option<Hosts>,
}

impl TargetSettings {
    /// Returns the rules that follow from the settings.
    #[must_use]
    pub fn rules(&self) -> TargetRules {
        let networks = |given: &Option<Networks>| given.clone().unwrap_or_default().0;
        let base = match self.allow_insecure_destinations {
            true => TargetRules::insecure(),
            false => TargetRules::default(),
        };
        TargetRules {
            plain_http: base.plain_http || self.allow_http_destinations,
            allowed_networks: [base.allowed_networks, networks(&self.allowed_networks)].concat(),
            denied_networks: networks(&self.denied_networks),
            allowed_ports: self.allowed_ports.clone().unwrap_or_default().0,
            own_hosts: self.own_hosts.clone().unwrap_or_default().0,
        }
    }
}
