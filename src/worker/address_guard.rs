//! Keeps the worker from connecting to addresses that are nobody's business.
//!
//! A tenant chooses the names we connect to and owns the DNS behind them, so a name that was harmless a
//! second ago may lead to the cloud's metadata service now. Checking a name and then connecting to it
//! by name would be two lookups, and an attacker answers the second one differently (DNS rebinding).
//! Therefore the guard *is* the resolver of the HTTP client: it looks a name up once, judges every
//! address, and the client can connect to nothing but the addresses the guard handed out. One blocked
//! address among several public ones fails the whole lookup: nobody publishes such a mixture by
//! accident.
//!
//! HTTP clients do not resolve what already is an address, so a URL with a literal address is judged
//! before the request, see [`AddressGuard::judge_target`].
//!
//! A pooled connection is not judged again: it was when it was made, and it cannot change its other end.
//!
//! # Behind a forward proxy
//!
//! With a proxy it is the proxy that connects, so the resolver of our client sees nothing but the
//! proxy's name. Each request then has its host looked up and judged here first, and only if all is
//! well the proxy is asked for it. What that cannot close: the proxy looks the name up again, and may
//! be told something else. An attacker who gets that far still meets certificate verification, which is
//! ours: he learns whether a port is open, and no byte of a request is sent to a machine that cannot
//! prove to be the destination. Give the proxy rules of its own against private addresses; that is also
//! what one usually has it for.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use aggregates::blocked_addresses::blocked;
use aggregates::destination_url::Insecure;
use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::sync::Semaphore;
use url::{Host, Url};

/// Addresses of one name that are handed to the connector. All are judged; more than a few are never
/// tried anyway.
const ADDRESSES_MAX: usize = 16;

/// Lookups at a time. Each one blocks a thread until the system's resolver gives up, and the runtime
/// has 512 of them for everything: names that never answer must not starve the rest of the process.
const LOOKUPS_MAX: usize = 256;

/// Where addresses come from.
#[async_trait]
pub trait NameLookup: Send + Sync + 'static {
    /// All addresses of a name.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver, with its hosts file and search rules.
#[derive(Debug)]
pub struct SystemLookup {
    permits: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

#[async_trait]
impl NameLookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        // A lookup cannot be called off: its thread stays busy after the attempt that wanted it has
        // timed out. The permit goes with the thread, or it would not bound the threads.
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// Why the guard does not let a request through.
#[derive(Debug, Error)]
pub enum GuardRefusal {
    /// The host is an address that must not be reached.
    #[error("{address} must not be reached ({range})")]
    BlockedAddress {
        /// The host of the URL.
        address: IpAddr,
        /// The range that blocks it.
        range: &'static str,
    },
    /// The host leads to an address that must not be reached. Which one is not said: whoever asked
    /// would learn what our resolver knows about the network it stands in.
    #[error("{name} leads to an address that must not be reached ({range})")]
    BlockedName {
        /// The host of the URL.
        name: String,
        /// The range that blocks it.
        range: &'static str,
    },
    /// Plain http where it is not allowed.
    #[error("plain http is not allowed")]
    NotHttps,
    /// The lookup failed.
    #[error("{name} could not be resolved")]
    LookupFailed {
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The lookup found nothing.
    #[error("{name} has no address")]
    NoAddress { name: String },
}

/// The resolver that hands out checked addresses only.
#[derive(Clone)]
pub struct AddressGuard {
    lookup: Arc<dyn NameLookup>,
    insecure: Insecure,
}

impl AddressGuard {
    /// A guard over a source of addresses.
    #[must_use]
    pub fn new(lookup: Arc<dyn NameLookup>, insecure: Insecure) -> Self {
        Self { lookup, insecure }
    }

    /// Judges what the connection's resolver will never see: the scheme, and a host that already is an
    /// address.
    pub fn judge_target(&self, url: &Url) -> Result<(), GuardRefusal> {
        if self.insecure == Insecure::Forbidden && url.scheme() != "https" {
            return Err(GuardRefusal::NotHttps);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        note_candidates(&[address]);
        match self.first_blocked(&[address]) {
            Some((address, range)) => Err(GuardRefusal::BlockedAddress { address, range }),
            None => Ok(()),
        }
    }

    /// The checked addresses of a name.
    pub async fn resolve_checked(&self, name: &str) -> Result<Vec<IpAddr>, GuardRefusal> {
        let found = self.lookup.lookup(name).await;
        let mut addresses =
            found.map_err(|source| GuardRefusal::LookupFailed { name: name.to_owned(), source })?;
        if addresses.is_empty() {
            return Err(GuardRefusal::NoAddress { name: name.to_owned() });
        }
        if let Some((address, range)) = self.first_blocked(&addresses) {
            tracing::warn!(host = name, %address, range, "a destination leads to a blocked address");
            return Err(GuardRefusal::BlockedName { name: name.to_owned(), range });
        }
        addresses.truncate(ADDRESSES_MAX);
        note_candidates(&addresses);
        Ok(addresses)
    }

    fn first_blocked(&self, addresses: &[IpAddr]) -> Option<(IpAddr, &'static str)> {
        match self.insecure {
            Insecure::Allowed => None,
            Insecure::Forbidden => {
                addresses.iter().find_map(|&address| blocked(address).map(|range| (address, range)))
            }
        }
    }
}

impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.resolve_checked(name.as_str()).await?;
            // The port is the connector's business; zero means "the one of the URL".
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// The resolver of a client behind a forward proxy: it knows the proxy and nothing else, so that no
/// request can go round the proxy. The proxy's own address is the operator's choice and may well be
/// private.
pub(super) struct ProxyOnly {
    pub(super) host: String,
    pub(super) lookup: Arc<dyn NameLookup>,
}

impl Resolve for ProxyOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = name.as_str() == self.host;
        let guard = AddressGuard::new(Arc::clone(&self.lookup), Insecure::Allowed);
        Box::pin(async move {
            if !is_proxy {
                return Err("only the proxy may be connected to".into());
            }
            // Outside of any attempt's notes: the proxy's address is not the destination's.
            let addresses =
                CANDIDATES.scope(Candidates::default(), guard.resolve_checked(name.as_str())).await?;
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// The addresses one request may have gone to. A request that fails does not say where it was sent; the
/// guard knows, and this is how it tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates(Arc<Mutex<Vec<IpAddr>>>);

tokio::task_local! {
    static CANDIDATES: Candidates;
}

impl Candidates {
    /// Runs a request while the guard's notes go here.
    pub(super) async fn watch<F: Future>(&self, request: F) -> F::Output {
        CANDIDATES.scope(self.clone(), request).await
    }

    /// What the guard noted last, as text with the port: mostly one address, at most three.
    pub(super) fn describe(&self, port: Option<u16>) -> Option<String> {
        let addresses = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let described: Vec<_> = addresses
            .iter()
            .take(3)
            .map(|&address| SocketAddr::new(address, port.unwrap_or_default()).to_string())
            .collect();
        (!described.is_empty()).then(|| described.join(", "))
    }
}

fn note_candidates(addresses: &[IpAddr]) {
    // Outside of a watched request nobody wants to know.
    let _ = CANDIDATES.try_with(|candidates| {
        *candidates.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = addresses.to_vec();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<&'static str>);

    #[async_trait]
    impl NameLookup for Fixed {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    fn guard(addresses: &[&'static str], insecure: Insecure) -> AddressGuard {
        AddressGuard::new(Arc::new(Fixed(addresses.to_vec())), insecure)
    }

    #[tokio::test]
    async fn one_blocked_address_fails_the_whole_lookup() {
        let mixed = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:10.0.0.1"];
        let refusal = guard(&mixed, Insecure::Forbidden).resolve_checked("example.com").await.unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "example.com leads to an address that must not be reached (private network, 10.0.0.0/8)"
        );
        let allowed = guard(&mixed, Insecure::Allowed).resolve_checked("example.com").await.unwrap();
        assert_eq!(allowed.len(), 3);
    }

    #[tokio::test]
    async fn a_blocked_address_is_found_behind_any_number_of_others() {
        let mut many = vec!["8.8.8.8"; ADDRESSES_MAX + 10];
        let addresses = guard(&many, Insecure::Forbidden).resolve_checked("example.com").await.unwrap();
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        many.push("127.0.0.1");
        assert!(guard(&many, Insecure::Forbidden).resolve_checked("example.com").await.is_err());
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_refused() {
        let refusal = guard(&[], Insecure::Forbidden).resolve_checked("example.com").await.unwrap_err();
        assert!(matches!(refusal, GuardRefusal::NoAddress { .. }));
    }

    #[tokio::test]
    async fn the_system_knows_localhost_and_the_guard_refuses_it() {
        let guard = AddressGuard::new(Arc::new(SystemLookup::default()), Insecure::Forbidden);
        let refusal = guard.resolve_checked("localhost").await.unwrap_err();
        assert!(matches!(refusal, GuardRefusal::BlockedName { .. }), "{refusal}");
    }

    #[test]
    fn literal_addresses_and_schemes_are_judged_without_a_lookup() {
        let judge = |url: &str, insecure| guard(&[], insecure).judge_target(&url.parse().unwrap()).is_ok();
        for refused in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:a00:1]/", "http://8.8.8.8/"]
        {
            assert!(!judge(refused, Insecure::Forbidden), "{refused}");
            assert!(judge(refused, Insecure::Allowed), "{refused}");
        }
        assert!(judge("https://8.8.8.8/", Insecure::Forbidden));
        assert!(judge("https://example.com/", Insecure::Forbidden));
    }
}
