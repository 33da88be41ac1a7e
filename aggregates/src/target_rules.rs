//! Rules of the operator for the URLs and addresses that requests of tenants may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::blocked_addresses::{blocked, without_embedding};
use crate::destination_url::DestinationUrlProblem;

/// Rules for targets. The default allows https to public addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRules {
    /// Whether http is allowed besides https.
    pub plain_http: bool,
    /// Networks that may be reached although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Networks that must not be reached, even if they are public or allowed.
    pub denied_networks: Vec<IpNet>,
    /// Ports that may be reached; empty: all.
    pub allowed_ports: Vec<u16>,
    /// Hosts of the installation itself: a webhook to one of them would come back.
    pub own_hosts: Vec<Host>,
}

/// Addresses at which clouds give credentials to the machines that ask. No setting allows them.
const METADATA: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128)),
];

impl TargetRules {
    /// Returns rules that allow http and all networks, for development.
    #[must_use]
    pub fn insecure() -> Self {
        let everything = |address: IpAddr| IpNet::new_assert(address, 0);
        Self {
            plain_http: true,
            allowed_networks: vec![
                everything(Ipv4Addr::UNSPECIFIED.into()),
                everything(Ipv6Addr::UNSPECIFIED.into()),
            ],
            ..Self::default()
        }
    }

    /// Returns the name of the range that blocks this address; `None` if a request may be sent to it.
    #[must_use]
    pub fn blocked(&self, address: IpAddr) -> Option<&'static str> {
        let plain = without_embedding(address);
        let is_in =
            |networks: &[IpNet]| networks.iter().any(|net| net.contains(&plain) || net.contains(&address));
        if is_in(&METADATA) {
            return Some("metadata service of a cloud");
        }
        if is_in(&self.denied_networks) {
            return Some("denied network");
        }
        if self.allowed_networks.iter().any(|net| net.contains(&plain)) {
            return None;
        }
        blocked(address)
    }

    /// Checks a URL. The addresses of a host name are not known here.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub fn check(&self, url: &Url) -> Result<(), DestinationUrlProblem> {
        use DestinationUrlProblem as Problem;
        if url.scheme() != "https" && !self.plain_http {
            return Err(Problem::NotHttps);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
            Some(address) => address.to_owned(),
            None => return Err(Problem::Malformed(url::ParseError::EmptyHost)),
        };
        if self.own_hosts.contains(&host) {
            return Err(Problem::OwnHost);
        }
        let address: IpAddr = match host {
            Host::Ipv4(address) => address.into(),
            Host::Ipv6(address) => address.into(),
            Host::Domain(name) => {
                let is_local = name == "localhost" || name.ends_with(".localhost");
                if is_local && self.blocked(Ipv4Addr::LOCALHOST.into()).is_some() {
                    return Err(Problem::Localhost);
                }
                return self.check_port(url);
            }
        };
        if let Some(range) = self.blocked(address) {
            return Err(Problem::BlockedAddress { address, range });
        }
        self.check_port(url)
    }

    fn check_port(&self, url: &Url) -> Result<(), DestinationUrlProblem> {
        let port = url.port_or_known_default().unwrap_or_default();
        if self.allowed_ports.is_empty() || self.allowed_ports.contains(&port) {
            return Ok(());
        }
        let allowed = self.allowed_ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(DestinationUrlProblem::Port { port, allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str], denied: &[&str]) -> TargetRules {
        let parse = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        TargetRules {
            allowed_networks: parse(allowed),
            denied_networks: parse(denied),
            ..TargetRules::default()
        }
    }

    fn may_reach(rules: &TargetRules, address: &str) -> bool {
        rules.blocked(address.parse().unwrap()).is_none()
    }

    fn problem(rules: &TargetRules, url: &str) -> Option<String> {
        rules.check(&url.parse().unwrap()).err().map(|problem| problem.to_string())
    }

    #[test]
    fn an_allowed_network_opens_itself_and_nothing_else() {
        let rules = rules(&["10.1.0.0/16", "fd12::/16"], &[]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1", "8.8.8.8"] {
            assert!(may_reach(&rules, address), "{address}");
        }
        for address in ["10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fd13::1", "192.168.0.1"] {
            assert!(!may_reach(&rules, address), "{address}");
        }
    }

    #[test]
    fn a_denied_network_is_closed_even_if_it_is_allowed() {
        let rules = rules(&["10.0.0.0/8"], &["10.1.0.0/16", "8.8.8.0/24", "2606:4700::/32"]);
        for address in ["10.1.2.3", "8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1", "2606:4700:4700::1111"] {
            assert!(!may_reach(&rules, address), "{address}");
        }
        assert!(may_reach(&rules, "10.2.0.1") && may_reach(&rules, "8.8.4.4"));
    }

    #[test]
    fn nothing_allows_metadata_services() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(!may_reach(&TargetRules::insecure(), address), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "8.8.8.8"] {
            assert!(may_reach(&TargetRules::insecure(), address), "{address}");
        }
    }

    #[test]
    fn plain_http_and_private_addresses_are_allowed_separately() {
        let http = TargetRules { plain_http: true, ..TargetRules::default() };
        assert_eq!(problem(&http, "http://example.com/"), None);
        assert!(problem(&http, "http://10.0.0.1/").is_some());
        assert!(problem(&http, "http://localhost/").is_some());
        let private = rules(&["10.0.0.0/8", "127.0.0.0/8"], &[]);
        assert_eq!(problem(&private, "https://10.0.0.1/"), None);
        assert_eq!(problem(&private, "https://localhost/"), None);
        assert!(problem(&private, "http://10.0.0.1/").is_some());
    }

    #[test]
    fn only_allowed_ports_may_be_used() {
        let rules = TargetRules { allowed_ports: vec![443, 8443], ..TargetRules::default() };
        for url in ["https://a.example/", "https://a.example:443/", "https://8.8.8.8:8443/"] {
            assert_eq!(problem(&rules, url), None, "{url}");
        }
        let refused = "must use one of the ports 443, 8443, and not 22";
        assert_eq!(problem(&rules, "https://a.example:22/").as_deref(), Some(refused));
        assert_eq!(problem(&rules, "https://8.8.8.8:22/").as_deref(), Some(refused));
        assert_eq!(problem(&TargetRules::default(), "https://a.example:22/"), None);
    }

    #[test]
    fn the_hosts_of_the_installation_are_refused_in_every_spelling() {
        let own = ["hooks.example.com", "8.8.8.8"].map(|host| Host::parse(host).unwrap());
        let rules = TargetRules { own_hosts: own.into(), ..TargetRules::insecure() };
        for url in [
            "https://hooks.example.com/api/v1/ingest/x/y",
            "http://HOOKS.example.com.:8080/",
            "https://0x8080808/",
        ] {
            assert_eq!(problem(&rules, url).as_deref(), Some("must not point at this API"), "{url}");
        }
        assert_eq!(problem(&rules, "https://other.hooks.example.com/"), None);
    }
}
