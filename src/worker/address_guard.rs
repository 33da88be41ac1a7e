//! Protection of private networks against requests to addresses that a tenant chooses (SSRF).
//!
//! A tenant chooses the host names of its destinations and controls their DNS, so a name that was harmless a
//! second ago may resolve to the cloud's metadata service now. Checking a name and then connecting by name
//! would be two lookups, and an attacker can answer the second one differently (DNS rebinding). Therefore the
//! guard *is* the resolver of the HTTP client: it resolves a name once and checks every address, and the
//! client connects only to the addresses that the guard returned. One blocked address among several public
//! ones fails the whole lookup: such a mixture is not published by accident.
//!
//! HTTP clients do not resolve literal addresses, so a URL with one is checked before the request, see
//! [`AddressGuard::check_target`].
//!
//! A pooled connection is not checked again: it was when it was made, and its remote address cannot change.
//!
//! # Behind a forward proxy
//!
//! With a proxy it is the proxy that connects, so the client resolves only the proxy's name. The host of each
//! request is then resolved and checked here before the proxy receives the request. One gap remains: the
//! proxy resolves the name again, and may get another answer. The client still verifies the certificate: such
//! an attacker learns whether a port is open, and no byte of a request is sent to a server that cannot prove
//! to be the destination. Configure the proxy to block private addresses as well.

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

/// Maximum number of addresses of a name that are passed to the connector. All are checked; more than a few
/// are never tried.
const ADDRESSES_MAX: usize = 16;

/// Maximum number of concurrent lookups. Each blocks a thread until the system's resolver times out, and the
/// runtime has 512 blocking threads: names without an answer must not starve the rest of the process.
const LOOKUPS_MAX: usize = 256;

/// Source of addresses.
#[async_trait]
pub trait NameLookup: Send + Sync + 'static {
    /// Returns all addresses of a name.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver, with its hosts file and search domains.
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
        // A lookup cannot be cancelled: its thread is blocked even after the attempt has timed out. So the
        // permit moves to the thread.
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// Error of a request that the guard refuses.
#[derive(Debug, Error)]
pub enum GuardRefusal {
    /// The host of the URL is a blocked address.
    #[error("{address} must not be reached ({range})")]
    BlockedAddress { address: IpAddr, range: &'static str },
    /// The host of the URL resolves to a blocked address, which is not named: the tenant could otherwise
    /// explore the internal network.
    #[error("{name} resolves to an address that must not be reached ({range})")]
    BlockedName { name: String, range: &'static str },
    #[error("plain http is not allowed")]
    NotHttps,
    #[error("{name} could not be resolved")]
    LookupFailed { name: String, source: io::Error },
    #[error("{name} has no address")]
    NoAddress { name: String },
}

/// Resolver that returns checked addresses only.
#[derive(Clone)]
pub struct AddressGuard {
    lookup: Arc<dyn NameLookup>,
    insecure: Insecure,
}

impl AddressGuard {
    #[must_use]
    pub fn new(lookup: Arc<dyn NameLookup>, insecure: Insecure) -> Self {
        Self { lookup, insecure }
    }

    /// Checks the scheme of a URL, and its host if it is a literal address, which the HTTP client does not
    /// resolve.
    ///
    /// # Errors
    /// [`GuardRefusal::NotHttps`] or [`GuardRefusal::BlockedAddress`].
    pub fn check_target(&self, url: &Url) -> Result<(), GuardRefusal> {
        if self.insecure == Insecure::Forbidden && url.scheme() != "https" {
            return Err(GuardRefusal::NotHttps);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        record_candidates(&[address]);
        match self.first_blocked(&[address]) {
            Some((address, range)) => Err(GuardRefusal::BlockedAddress { address, range }),
            None => Ok(()),
        }
    }

    /// Resolves a name and checks its addresses.
    ///
    /// # Errors
    /// When the name does not resolve, or one of its addresses is blocked.
    pub async fn resolve_checked(&self, name: &str) -> Result<Vec<IpAddr>, GuardRefusal> {
        let found = self.lookup.lookup(name).await;
        let mut addresses =
            found.map_err(|source| GuardRefusal::LookupFailed { name: name.to_owned(), source })?;
        if addresses.is_empty() {
            return Err(GuardRefusal::NoAddress { name: name.to_owned() });
        }
        if let Some((address, range)) = self.first_blocked(&addresses) {
            tracing::warn!(host = name, %address, range, "a destination resolves to a blocked address");
            return Err(GuardRefusal::BlockedName { name: name.to_owned(), range });
        }
        addresses.truncate(ADDRESSES_MAX);
        record_candidates(&addresses);
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
            // The connector replaces port 0 by the port of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Resolver of a client behind a forward proxy. Resolves only the proxy's name, so no request can bypass the
/// proxy. The proxy's address is chosen by the operator and may be private.
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
            // In a scope of its own: the proxy's address is not a candidate of the destination.
            let addresses =
                CANDIDATES.scope(Candidates::default(), guard.resolve_checked(name.as_str())).await?;
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Addresses to which a request may have been sent. The error of a failed request does not have them, so the
/// guard records them here.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates(Arc<Mutex<Vec<IpAddr>>>);

tokio::task_local! {
    static CANDIDATES: Candidates;
}

impl Candidates {
    /// Runs a request whose addresses the guard records here.
    pub(super) async fn record<F: Future>(&self, request: F) -> F::Output {
        CANDIDATES.scope(self.clone(), request).await
    }

    /// Returns the recorded addresses as text with the port: usually one, at most three.
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

fn record_candidates(addresses: &[IpAddr]) {
    // Fails outside of a recorded request.
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
            "example.com resolves to an address that must not be reached (private network, 10.0.0.0/8)"
        );
        let allowed = guard(&mixed, Insecure::Allowed).resolve_checked("example.com").await.unwrap();
        assert_eq!(allowed.len(), 3);
    }

    #[tokio::test]
    async fn a_blocked_address_is_found_among_any_number_of_others() {
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
    async fn localhost_is_refused() {
        let guard = AddressGuard::new(Arc::new(SystemLookup::default()), Insecure::Forbidden);
        let refusal = guard.resolve_checked("localhost").await.unwrap_err();
        assert!(matches!(refusal, GuardRefusal::BlockedName { .. }), "{refusal}");
    }

    #[test]
    fn literal_addresses_and_schemes_are_checked_without_a_lookup() {
        let check = |url: &str, insecure| guard(&[], insecure).check_target(&url.parse().unwrap()).is_ok();
        for refused in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:a00:1]/", "http://8.8.8.8/"]
        {
            assert!(!check(refused, Insecure::Forbidden), "{refused}");
            assert!(check(refused, Insecure::Allowed), "{refused}");
        }
        assert!(check("https://8.8.8.8/", Insecure::Forbidden));
        assert!(check("https://example.com/", Insecure::Forbidden));
    }
}
