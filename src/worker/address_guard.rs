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
//! `AddressGuard::check_target`.
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

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::destination_url::DestinationUrlProblem;
use aggregates::ids::TenantId;
use aggregates::target_rules::TargetRules;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

use super::name_lookup::{LookupFailure, NameResolver};

/// Maximum number of addresses of a name that are passed to the connector. All are checked; more than a few
/// are never tried.
const ADDRESSES_MAX: usize = 16;

/// Error of a request that the guard refuses.
#[derive(Debug, Error)]
pub(super) enum GuardRefusal {
    /// The URL breaks a rule of the operator.
    #[error("the URL {0}")]
    Target(#[from] DestinationUrlProblem),
    /// The name has no address, or a blocked one. Which of both is only logged: a tenant could otherwise find out
    /// which names the internal network has.
    #[error("{name} does not resolve to an address that may be reached")]
    UnusableName { name: String },
    /// The worker lacks what it needs to resolve the name.
    #[error("{0}")]
    OwnShortage(String),
}

/// Resolver that returns checked addresses only.
#[derive(Clone)]
pub(super) struct AddressGuard {
    resolver: NameResolver,
    rules: Arc<TargetRules>,
}

impl AddressGuard {
    #[must_use]
    pub(super) fn new(resolver: NameResolver, rules: TargetRules) -> Self {
        Self { resolver, rules: Arc::new(rules) }
    }

    /// Checks a URL, and its host if it is a literal address, which the HTTP client does not resolve.
    ///
    /// # Errors
    /// [`GuardRefusal::Target`].
    pub(super) fn check_target(&self, url: &Url, request: &OutboundContext) -> Result<(), GuardRefusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => request.record(&[address.into()]),
            Some(Host::Ipv6(address)) => request.record(&[address.into()]),
            Some(Host::Domain(_)) | None => {}
        }
        Ok(self.rules.check(url)?)
    }

    /// Resolves a name and checks its addresses. The name is taken as complete: search domains would lead into the
    /// internal network.
    ///
    /// # Errors
    /// When the name does not resolve, or one of its addresses is blocked.
    pub(super) async fn resolve_checked(
        &self,
        name: &str,
        request: &OutboundContext,
    ) -> Result<Vec<IpAddr>, GuardRefusal> {
        let complete = format!("{}.", name.strip_suffix('.').unwrap_or(name));
        let unusable = || GuardRefusal::UnusableName { name: name.to_owned() };
        let addresses = match self.resolver.resolve(request.tenant_id, &complete).await {
            Ok(addresses) => addresses,
            Err(LookupFailure::OwnShortage(reason)) => return Err(GuardRefusal::OwnShortage(reason)),
            Err(failure @ (LookupFailure::Unresolvable(_) | LookupFailure::NoAnswer)) => {
                tracing::debug!(host = name, %failure, "the host of a destination cannot be resolved");
                return Err(unusable());
            }
        };
        if let Some((address, range)) = self.first_blocked(&addresses) {
            tracing::warn!(host = name, %address, range, "a destination resolves to a blocked address");
            return Err(unusable());
        }
        let addresses: Vec<IpAddr> = addresses.iter().copied().take(ADDRESSES_MAX).collect();
        request.record(&addresses);
        Ok(addresses)
    }

    fn first_blocked(&self, addresses: &[IpAddr]) -> Option<(IpAddr, &'static str)> {
        addresses.iter().find_map(|&address| self.rules.blocked(address).map(|range| (address, range)))
    }
}

impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, request) = (self.clone(), OutboundContext::current());
        Box::pin(async move { Ok(targets(guard.resolve_checked(name.as_str(), &request).await?)) })
    }
}

/// Resolver of a client behind a forward proxy. Resolves only the proxy's name, so no request can bypass the
/// proxy. The proxy's address is chosen by the operator and may be private.
pub(super) struct ProxyOnly {
    pub(super) host: String,
    pub(super) resolver: NameResolver,
}

impl Resolve for ProxyOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (is_proxy, resolver) = (name.as_str() == self.host, self.resolver.clone());
        Box::pin(async move {
            if !is_proxy {
                return Err("only the proxy may be connected to".into());
            }
            let addresses = resolver.resolve(None, name.as_str()).await.map_err(|failure| {
                GuardRefusal::OwnShortage(format!("the name of the proxy cannot be resolved: {failure}"))
            })?;
            Ok(targets(addresses.iter().copied().take(ADDRESSES_MAX).collect()))
        })
    }
}

/// Returns addresses for the connector, which replaces port 0 by the port of the URL.
fn targets(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
}

/// Whose request is made, and to which addresses it may have been sent: the error of a failed request does not have
/// them, so the guard records them here. Clones share the addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboundContext {
    tenant_id: Option<TenantId>,
    addresses: Arc<Mutex<Vec<IpAddr>>>,
}

tokio::task_local! {
    /// The HTTP client passes only a name to its resolver.
    static CURRENT: OutboundContext;
}

impl OutboundContext {
    /// Returns the context of a request of a tenant, without addresses.
    pub(super) fn of(tenant_id: TenantId) -> Self {
        Self { tenant_id: Some(tenant_id), ..Self::default() }
    }

    /// Runs a request whose resolver uses this context.
    pub(super) async fn scope<F: Future>(&self, request: F) -> F::Output {
        CURRENT.scope(self.clone(), request).await
    }

    fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    pub(super) fn record(&self, addresses: &[IpAddr]) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses.to_vec();
    }

    /// Returns the recorded addresses.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the recorded addresses as text with the port: usually one, at most three.
    pub(super) fn describe(&self, port: Option<u16>) -> Option<String> {
        let described: Vec<_> = self
            .addresses()
            .into_iter()
            .take(3)
            .map(|address| SocketAddr::new(address, port.unwrap_or_default()).to_string())
            .collect();
        (!described.is_empty()).then(|| described.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use crate::worker::name_lookup::{Addresses, LookupLimits, NameLookup, SystemLookup};

    struct Fixed(Vec<&'static str>);

    #[async_trait]
    impl NameLookup for Fixed {
        async fn lookup(&self, _: &str) -> Result<Addresses, LookupFailure> {
            let addresses = self.0.iter().map(|address| address.parse().unwrap()).collect();
            Ok(Addresses { addresses, lifetime: Duration::ZERO })
        }
    }

    fn guard_with(lookup: impl NameLookup, rules: TargetRules) -> AddressGuard {
        AddressGuard::new(NameResolver::new(Arc::new(lookup), LookupLimits::default()), rules)
    }

    fn guard(addresses: &[&'static str], rules: TargetRules) -> AddressGuard {
        guard_with(Fixed(addresses.to_vec()), rules)
    }

    async fn resolve(guard: AddressGuard, name: &str) -> Result<Vec<IpAddr>, GuardRefusal> {
        guard.resolve_checked(name, &OutboundContext::of(TenantId(Uuid::nil()))).await
    }

    #[tokio::test]
    async fn one_blocked_address_fails_the_whole_lookup() {
        let mixed = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:10.0.0.1"];
        let refusal = resolve(guard(&mixed, TargetRules::default()), "example.com").await.unwrap_err();
        assert_eq!(refusal.to_string(), "example.com does not resolve to an address that may be reached");
        assert_eq!(resolve(guard(&mixed, TargetRules::insecure()), "example.com").await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_blocked_address_is_found_among_any_number_of_others() {
        let mut many = vec!["8.8.8.8"; ADDRESSES_MAX + 10];
        let addresses = resolve(guard(&many, TargetRules::default()), "example.com").await.unwrap();
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        many.push("127.0.0.1");
        assert!(resolve(guard(&many, TargetRules::default()), "example.com").await.is_err());
    }

    #[tokio::test]
    async fn a_tenant_cannot_tell_a_blocked_name_from_one_that_does_not_exist() {
        let unknown = resolve(guard(&[], TargetRules::default()), "internal.example").await.unwrap_err();
        let blocked =
            resolve(guard(&["10.0.0.1"], TargetRules::default()), "internal.example").await.unwrap_err();
        assert_eq!(unknown.to_string(), blocked.to_string());
    }

    #[tokio::test]
    async fn localhost_is_refused() {
        let guard = guard_with(SystemLookup::default(), TargetRules::default());
        let refusal = resolve(guard, "localhost").await.unwrap_err();
        assert!(matches!(refusal, GuardRefusal::UnusableName { .. }), "{refusal}");
    }

    #[tokio::test]
    async fn a_name_is_complete() {
        struct Complete;
        #[async_trait]
        impl NameLookup for Complete {
            async fn lookup(&self, name: &str) -> Result<Addresses, LookupFailure> {
                assert_eq!(name, "intranet.");
                Ok(Addresses { addresses: vec![[8, 8, 8, 8].into()], lifetime: Duration::ZERO })
            }
        }
        for name in ["intranet", "intranet."] {
            resolve(guard_with(Complete, TargetRules::default()), name).await.unwrap();
        }
    }

    #[test]
    fn literal_addresses_and_schemes_are_checked_without_a_lookup() {
        let check = |url: &str, rules| {
            guard(&[], rules).check_target(&url.parse().unwrap(), &OutboundContext::default()).is_ok()
        };
        for refused in ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:a00:1]/", "http://8.8.8.8/"]
        {
            assert!(!check(refused, TargetRules::default()), "{refused}");
            assert!(check(refused, TargetRules::insecure()), "{refused}");
        }
        assert!(check("https://8.8.8.8/", TargetRules::default()));
        assert!(check("https://example.com/", TargetRules::default()));
    }
}
