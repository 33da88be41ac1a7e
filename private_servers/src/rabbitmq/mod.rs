//! A private RabbitMQ: one node, or a cluster.
//!
//! It cannot meet a node of the system: it has its own cookie and its own port mapper (EPMD), and all its
//! ports are on the loopback interface. Its nodes are disposable: they keep their data through [`Node::stop`]
//! and [`Node::kill`], but are killed when they are dropped.

mod node;
mod programs;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::START_LIMIT;
use crate::error::{ServerError, failure};
use crate::guard::GuardedProcess;
use crate::server_user::ServerUser;
pub use node::Node;
use node::NodeNetwork;
use programs::Programs;

/// Ports to choose from. They are below the range from which outgoing connections take theirs: otherwise one
/// of those could take the port of a node while the node is stopped.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// A running RabbitMQ.
#[derive(Debug)]
pub struct RabbitMq {
    // Nodes are dropped, and so killed, before their port mapper.
    pub nodes: Vec<Node>,
    _port_mapper: GuardedProcess,
}

impl RabbitMq {
    /// Starts a cluster of `nodes` nodes, which keep their files in `folder`, and waits until it is complete.
    ///
    /// # Errors
    /// RabbitMQ is not installed, or a node does not start within two minutes.
    pub async fn start(folder: &Path, nodes: usize) -> Result<Self, ServerError> {
        let programs = Programs::find()?;
        let user = ServerUser::choose("rabbitmq").await?;
        let mapper_port = free_port();
        let port_mapper = start_port_mapper(folder, &programs, &user, mapper_port).await?;
        let names: Vec<String> = (1..=nodes).map(|number| format!("node-{number}")).collect();
        let network = NodeNetwork { mapper_port, cookie: format!("{:032x}", rand::random::<u128>()), names };
        let mut rabbitmq = Self { nodes: Vec::new(), _port_mapper: port_mapper };
        for name in &network.names {
            let mut node = Node::create(&folder.join(name), name, &network, &programs, &user)?;
            // One after the other: nodes that start together for the first time may each form a cluster.
            node.start().await?;
            rabbitmq.nodes.push(node);
        }
        if nodes > 1 {
            rabbitmq.nodes[0].control(&["await_online_nodes", &nodes.to_string()]).await?;
        }
        Ok(rabbitmq)
    }
}

async fn start_port_mapper(
    folder: &Path,
    programs: &Programs,
    user: &ServerUser,
    port: u16,
) -> Result<GuardedProcess, ServerError> {
    fs::create_dir_all(folder).map_err(failure("create", folder))?;
    let mut command = GuardedProcess::command(user, "TERM", programs.epmd());
    command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
    let mut process = GuardedProcess::spawn(command, folder.join("epmd.log")).await?;
    process
        .wait_until(Instant::now() + START_LIMIT, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
    Ok(process)
}

pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
