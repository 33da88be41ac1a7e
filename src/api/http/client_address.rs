//! Address of the client of a request.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Once};

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies whose `X-Forwarded-For` is trusted.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Returns the client's address. `X-Forwarded-For` counts only if a trusted proxy sent it, and only back to the
    /// first address that is not a trusted proxy: the client may have forged everything before it.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.trusts(client) && headers.contains_key(FORWARDED_FOR) {
            warn_of_untrusted_proxy(client);
        }
        let forwarded = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = address(hop.trim()) else { break };
            client = address;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Warns once that a peer which is not trusted names its clients. Any client can do so, but a proxy does it always.
fn warn_of_untrusted_proxy(peer: IpAddr) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %peer,
            "X-Forwarded-For of a peer that is not in HOOKSENTRY_TRUSTED_PROXIES is ignored: if the peer is a proxy, \
             all of its clients share one rate limit"
        );
    });
}

/// Reads an address with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    bare.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|network| network.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.client(format!("{peer}:1").parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_peer_is_the_client_unless_it_is_a_trusted_proxy() {
        assert_eq!(client(&[], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn addresses_forged_by_a_client_are_ignored() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(client(&proxies, "10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client(&proxies, "10.0.0.1", &["203.0.113.9", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&proxies, "10.0.0.1", &["198.51.100.7, nonsense"]), "10.0.0.1");
        assert_eq!(client(&proxies, "10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    proptest! {
        #[test]
        fn foreign_bytes_in_forwarded_addresses(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5),
        ) {
            let mut headers = HeaderMap::new();
            for value in values.iter().filter_map(|value| value.as_slice().try_into().ok()) {
                headers.append("x-forwarded-for", value);
            }
            let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
            TrustedProxies::new(vec!["192.0.2.0/24".parse().unwrap()]).client(peer, &headers);
            let untrusting = TrustedProxies::new(vec![]);
            prop_assert_eq!(untrusting.client(peer, &headers), peer.ip());
        }
    }
}
