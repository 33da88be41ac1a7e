//! The proxies of one process: to PostgreSQL, and to each node of RabbitMQ.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use fault_proxy::{Direction, Fault, FaultProxy, Scope, Target};
use private_servers::rabbitmq::RabbitMq;

use crate::faults::FaultKind;

/// Server at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    RabbitMq,
}

/// The proxies of one process.
pub(crate) struct Links {
    pub(crate) postgres: FaultProxy,
    /// One for each node.
    pub(crate) rabbitmq: Vec<FaultProxy>,
}

impl Links {
    pub(super) async fn start(postgres: Target, broker: &RabbitMq) -> anyhow::Result<Self> {
        let mut rabbitmq = Vec::new();
        for node in &broker.nodes {
            rabbitmq.push(FaultProxy::start(address_of(&node.url())?).await?);
        }
        Ok(Self { postgres: FaultProxy::start(postgres).await?, rabbitmq })
    }

    /// Returns the URL of the database for the process.
    pub(super) fn database_url(&self) -> String {
        format!("postgres://hooksentry@{}/hooksentry?sslmode=disable", self.postgres.address())
    }

    /// Returns the URLs of the broker's nodes for the process.
    pub(super) fn amqp_url(&self) -> String {
        let urls = self.rabbitmq.iter().map(|proxy| format!("amqp://guest:guest@{}/%2f", proxy.address()));
        urls.collect::<Vec<_>>().join(",")
    }

    fn to(&self, server: Server) -> &[FaultProxy] {
        match server {
            Server::Postgres => std::slice::from_ref(&self.postgres),
            Server::RabbitMq => &self.rabbitmq,
        }
    }

    /// Begins a fault of the network on the connections to a server.
    pub(crate) fn begin(&self, server: Server, kind: FaultKind, delay: Duration) {
        let fault = match kind {
            FaultKind::Cut => Fault::Cut,
            FaultKind::Delay => Fault::Delay(delay),
            FaultKind::Stall => Fault::Stall,
            _ => Fault::Swallow,
        };
        for proxy in self.to(server) {
            proxy.set(Scope::All, Direction::Both, fault);
        }
    }

    /// Ends such a fault. Connections whose bytes were lost stay silent: by then the server has given them up,
    /// and the process has to find out by itself.
    pub(crate) fn end(&self, server: Server, kind: FaultKind) {
        for proxy in self.to(server) {
            if kind == FaultKind::Swallow {
                proxy.abandon();
                proxy.set(Scope::New, Direction::Both, Fault::Pass);
            } else {
                proxy.heal();
            }
        }
    }

    /// Leaves the connections to PostgreSQL open and silent, and passes on nothing on new ones, as when its host
    /// has lost power.
    pub(crate) fn lose_postgres(&self) {
        self.postgres.set(Scope::New, Direction::Both, Fault::Cut);
        self.postgres.abandon();
    }

    /// Connects new connections to another PostgreSQL.
    pub(crate) fn redirect_postgres(&self, target: Target) {
        self.postgres.redirect(target);
        self.postgres.set(Scope::New, Direction::Both, Fault::Pass);
    }
}

/// Returns the address in an AMQP URL with an IP address.
fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let authority = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    authority.and_then(|address| address.parse().ok()).with_context(|| format!("no address in {url}"))
}
