//! The system's resolver: `/etc/hosts`, and the name servers and search domains of `/etc/resolv.conf`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Addresses, LookupFailure, NameLookup};

/// Files that configure the resolver.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Time after which the files are compared with what was read of them.
const FILES_CHECKED_EVERY: Duration = Duration::from_secs(5);
/// Longest time for which one name server is waited for. The next try may reach another one. Several tries must fit into
/// the time limit of a lookup.
const TRY_TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// The system's resolver. Changes of its files apply within seconds.
#[derive(Debug, Default)]
pub struct SystemLookup(Mutex<Option<Loaded>>);

#[derive(Debug)]
struct Loaded {
    resolver: SystemResolver,
    changed_at: [Option<SystemTime>; FILES.len()],
    checked_at: Instant,
}

/// What the files say.
#[derive(Clone, Debug)]
struct SystemResolver {
    hosts: Arc<Hosts>,
    dns: TokioResolver,
}

#[async_trait]
impl NameLookup for SystemLookup {
    async fn lookup(&self, name: &str) -> Result<Addresses, LookupFailure> {
        let resolver = self.resolver().await.map_err(|error| {
            LookupFailure::OwnShortage(format!("the system's resolver cannot be used: {error}"))
        })?;
        resolver.look_up(name).await
    }

    async fn is_available(&self) -> bool {
        match self.resolver().await {
            Ok(resolver) => resolver.answers().await,
            Err(_) => false,
        }
    }
}

impl SystemLookup {
    /// Returns the resolver as its files configure it.
    async fn resolver(&self) -> Result<SystemResolver, NetError> {
        let mut loaded = self.0.lock().await;
        if let Some(loaded) = &*loaded
            && loaded.checked_at.elapsed() < FILES_CHECKED_EVERY
        {
            return Ok(loaded.resolver.clone());
        }
        let (mut changed_at, checked_at) = ([None; FILES.len()], Instant::now());
        for (path, changed_at) in FILES.iter().zip(&mut changed_at) {
            *changed_at = tokio::fs::metadata(path).await.and_then(|file| file.modified()).ok();
        }
        let resolver = match loaded.take() {
            Some(loaded) if loaded.changed_at == changed_at => loaded.resolver,
            _ => SystemResolver::read_files()?,
        };
        *loaded = Some(Loaded { resolver: resolver.clone(), changed_at, checked_at });
        Ok(resolver)
    }
}

impl SystemResolver {
    fn read_files() -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "/etc/resolv.conf names no name server; 127.0.0.1 is used");
            let local = NameServerConfig::udp_and_tcp([127, 0, 0, 1].into());
            let config = ResolverConfig::from_parts(None, vec![], vec![local]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        });
        set_options(builder.options_mut());
        Ok(Self { hosts: Arc::new(Hosts::from_system().unwrap_or_default()), dns: builder.build()? })
    }

    async fn look_up(&self, name: &str) -> Result<Addresses, LookupFailure> {
        let name =
            Name::from_str_relaxed(name).map_err(|error| LookupFailure::Unresolvable(error.to_string()))?;
        let listed: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found| LookupIp::from(found).iter().collect::<Vec<_>>())
            .collect();
        if !listed.is_empty() {
            return Ok(Addresses { addresses: listed, lifetime: FILES_CHECKED_EVERY });
        }
        let found = self.dns.lookup_ip(name).await.map_err(failure)?;
        let lifetime = found.valid_until().saturating_duration_since(std::time::Instant::now());
        Ok(Addresses { addresses: found.iter().collect(), lifetime })
    }

    /// Whether a name server answers when it is asked for those of the root. Errors are answers, too.
    async fn answers(&self) -> bool {
        let answer = self.dns.lookup(Name::root(), RecordType::NS).await;
        !matches!(answer.map_err(failure), Err(LookupFailure::NoAnswer | LookupFailure::OwnShortage(_)))
    }
}

fn set_options(options: &mut ResolverOpts) {
    // The answers are kept by the caller.
    options.cache_size = 0;
    // A name in the file of hosts is not asked for elsewhere, not even for its other kind of address.
    options.use_hosts_file = ResolveHosts::Never;
    // Both are tried, one shortly after the other. IPv4 first, because an IPv6 address of the receiver is of no use to a
    // worker without IPv6.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = options.timeout.min(TRY_TIMEOUT_MAX);
}

fn failure(error: NetError) -> LookupFailure {
    match error {
        NetError::Timeout | NetError::NoConnections => LookupFailure::NoAnswer,
        // There is no file or port for a socket, or no route to the name server.
        NetError::Io(source) => {
            LookupFailure::OwnShortage(format!("the worker cannot ask its name server: {}", source.kind()))
        }
        NetError::Busy => LookupFailure::OwnShortage("the worker's name servers are busy".to_owned()),
        other => LookupFailure::Unresolvable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::ConnectionConfig;
    use tokio::net::UdpSocket;
    use tokio_util::task::AbortOnDropHandle;
    use tokio_util::task::TaskTracker;

    use super::*;

    const TTL_SECONDS: u32 = 7;

    /// A name server that knows the IPv4 address of every name that begins with `known`, and answers to no name that
    /// begins with `silent`.
    async fn name_server() -> (SystemResolver, AbortOnDropHandle<()>) {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = socket.local_addr().unwrap().port();
        let serving = TaskTracker::new().spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(answer) = answer(&buffer[..length]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        (resolver_of(port), AbortOnDropHandle::new(serving))
    }

    fn resolver_of(port: u16) -> SystemResolver {
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
        server.connections = vec![connection];
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        set_options(builder.options_mut());
        builder.options_mut().timeout = Duration::from_millis(50);
        SystemResolver { hosts: Arc::default(), dns: builder.build().unwrap() }
    }

    /// Returns the answer to a query (RFC 1035, section 4.1).
    fn answer(query: &[u8]) -> Option<Vec<u8>> {
        let first_label = &query[13..][..usize::from(query[12])];
        let question_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
        let is_ipv4 = query[question_end - 4..question_end - 2] == [0, 1];
        let (code, answers) = match first_label {
            label if label.starts_with(b"silent") => return None,
            label if label.starts_with(b"known") => (0, u8::from(is_ipv4)),
            _ => (3, 0),
        };
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(&query[12..question_end]);
        if answers > 0 {
            answer.extend([0xc0, 12, 0, 1, 0, 1]);
            answer.extend(TTL_SECONDS.to_be_bytes());
            answer.extend([0, 4, 192, 0, 2, 1]);
        }
        Some(answer)
    }

    #[tokio::test]
    async fn a_name_server_is_asked_for_addresses_and_their_lifetime() {
        let (resolver, _serving) = name_server().await;
        let found = resolver.look_up("known_name.example.").await.unwrap();
        assert_eq!(found.addresses, [IpAddr::from([192, 0, 2, 1])]);
        let seconds = found.lifetime.as_secs_f64();
        assert!(seconds > 1.0 && seconds <= f64::from(TTL_SECONDS), "{seconds}");
    }

    #[tokio::test]
    async fn an_unknown_name_is_told_from_a_silent_name_server() {
        let (resolver, _serving) = name_server().await;
        let unknown = resolver.look_up("unknown.example.").await.unwrap_err();
        assert!(matches!(unknown, LookupFailure::Unresolvable(_)), "{unknown:?}");
        let silent = resolver.look_up("silent.example.").await.unwrap_err();
        assert_eq!(silent, LookupFailure::NoAnswer);
        assert!(resolver.answers().await, "the name server of the machine is well");

        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let resolver = resolver_of(closed);
        assert!(resolver.look_up("known.example.").await.is_err());
        assert!(!resolver.answers().await);
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        for name in ["localhost", "localhost.", "api.localhost."] {
            let found = SystemLookup::default().lookup(name).await.unwrap();
            assert!(found.addresses.iter().all(IpAddr::is_loopback), "{name}: {:?}", found.addresses);
            assert_eq!(found.addresses.first(), Some(&[127, 0, 0, 1].into()), "{name}");
        }
    }

    #[tokio::test]
    async fn the_hosts_file_is_read() {
        let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
        let entries = hosts.lines().filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            words.next().map(|name| (address, name.to_lowercase()))
        });
        for (address, name) in entries {
            let found = SystemLookup::default().lookup(&format!("{name}.")).await.unwrap();
            assert!(found.addresses.contains(&address), "{name}: {:?}", found.addresses);
        }
    }
}
