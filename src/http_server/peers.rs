//! Limit of the connections of one peer, and the options of their sockets.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::client_network::ClientNetwork;

/// A peer that is gone is noticed by keep-alives, or after this time without an acknowledgement of what was sent.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(60);

/// Limit of the connections of one peer.
pub(super) struct PeerLimit {
    connections_max: usize,
    unlimited: Vec<IpNet>,
    connections: Arc<Connections>,
}

type Connections = Mutex<HashMap<ClientNetwork, usize>>;

/// One connection of a peer, until it is dropped.
pub(super) struct PeerSlot {
    connections: Arc<Connections>,
    /// `None`: the peer has no limit.
    peer: Option<ClientNetwork>,
}

impl PeerLimit {
    pub(super) fn new(connections_max: usize, unlimited: Vec<IpNet>) -> Self {
        Self { connections_max, unlimited, connections: Arc::default() }
    }

    /// Admits a connection; `None` if the peer has as many as it may have.
    pub(super) fn admit(&self, address: IpAddr) -> Option<PeerSlot> {
        let address = address.to_canonical();
        let peer = match self.unlimited.iter().any(|network| network.contains(&address)) {
            true => None,
            false => {
                let peer = ClientNetwork::from(address);
                let mut connections = lock(&self.connections);
                let count = connections.entry(peer).or_default();
                if *count >= self.connections_max {
                    return None;
                }
                *count += 1;
                Some(peer)
            }
        };
        metrics::gauge!("hooksentry_http_connections").increment(1);
        Some(PeerSlot { connections: Arc::clone(&self.connections), peer })
    }

    /// Closes a connection beyond the limit, with an answer to the request that it is about to make.
    pub(super) fn refuse(&self, stream: TcpStream) {
        metrics::counter!("hooksentry_http_connections_refused_total").increment(1);
        let detail = format!(
            "This address has {} connections, as many as HOOKSENTRY_CONNECTIONS_PER_PEER allows. Close some, or \
             try again later.",
            self.connections_max
        );
        let body = format!(
            r#"{{"type":"/problems/too-many-requests","title":"Too many requests","status":429,"detail":"{detail}"}}"#
        );
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
             Retry-After: 1\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        // The socket is new and does not block, so the answer is in its buffer at once. It may be lost when the
        // peer has sent something.
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        metrics::gauge!("hooksentry_http_connections").decrement(1);
        let Some(peer) = self.peer else { return };
        let mut connections = lock(&self.connections);
        if let Some(count) = connections.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&peer);
            }
        }
    }
}

fn lock(connections: &Connections) -> MutexGuard<'_, HashMap<ClientNetwork, usize>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the options of an accepted socket, so that the kernel closes it when its peer is gone.
pub(super) fn watch_for_death(stream: &TcpStream) {
    // Responses are written in one piece, so Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER).with_interval(KEEP_ALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keep_alive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX));
}
