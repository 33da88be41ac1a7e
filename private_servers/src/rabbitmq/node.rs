//! One node of a private RabbitMQ.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use super::free_port;
use super::programs::Programs;
use crate::START_LIMIT;
use crate::error::{ServerError, failure};
use crate::guard::GuardedProcess;
use crate::server_user::ServerUser;

/// What the nodes of a cluster have in common.
#[derive(Debug, Clone)]
pub(super) struct NodeNetwork {
    pub(super) mapper_port: u16,
    /// Shared secret of the cluster.
    pub(super) cookie: String,
    pub(super) names: Vec<String>,
}

/// One node of a private RabbitMQ. It is killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    programs: Programs,
    user: ServerUser,
    port: u16,
    environment: Vec<(&'static str, String)>,
    /// `None` while the node is stopped.
    process: Option<GuardedProcess>,
}

impl Node {
    pub(super) fn create(
        folder: &Path,
        name: &str,
        network: &NodeNetwork,
        programs: &Programs,
        user: &ServerUser,
    ) -> Result<Self, ServerError> {
        let home = folder.join("home");
        for folder in [folder, &home] {
            user.own_folder(folder).map_err(failure("create", folder))?;
        }
        let port = free_port();
        for (file, text) in [
            ("home/.erlang.cookie", network.cookie.clone()),
            ("enabled_plugins", "[].\n".to_owned()),
            ("rabbitmq.conf", configuration(port, network)),
        ] {
            let path = folder.join(file);
            user.write_file(&path, &text).map_err(failure("write", &path))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            programs: programs.clone(),
            user: user.clone(),
            port,
            environment: environment(folder, name, network.mapper_port),
            process: None,
        })
    }

    /// The AMQP URL of the node.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The id of the node's process; `None` while the node is stopped.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(GuardedProcess::process_id)
    }

    /// Starts the node unless it runs, with the data that it kept, and waits until it accepts clients. A new
    /// node joins those of its cluster that run.
    ///
    /// # Errors
    /// The node ends, or does not accept clients within two minutes.
    pub async fn start(&mut self) -> Result<(), ServerError> {
        if self.process.is_some() {
            return Ok(());
        }
        let program = self.programs.rabbitmq("rabbitmq-server");
        let mut command = GuardedProcess::command(&self.user, "TERM", &program);
        command.envs(self.environment.iter().cloned());
        let process = GuardedProcess::spawn(command, log(&self.folder)).await?;
        let (process, port) = (self.process.insert(process), self.port);
        process.wait_until(Instant::now() + START_LIMIT, async || accepts_clients(port).await).await
    }

    /// Stops the node as an operator would.
    ///
    /// # Errors
    /// The node does not end within a minute, or reports a failure.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// Ends the node as a power failure would, and blocks until it is gone.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Runs `rabbitmqctl` for this node and returns its output.
    ///
    /// # Errors
    /// The program cannot be started, or reports a failure.
    pub async fn control(&self, arguments: &[&str]) -> Result<String, ServerError> {
        let mut command: Command = self.user.command(&self.programs.rabbitmq("rabbitmqctl"));
        command.envs(self.environment.iter().cloned()).args(arguments);
        self.user.run(&mut command).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the path of the log: next to the node's folder, which belongs to the node's user.
fn log(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

fn configuration(port: u16, network: &NodeNetwork) -> String {
    let mut text = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n");
    if network.names.len() > 1 {
        text.push_str("cluster_formation.peer_discovery_backend = classic_config\n");
        for (number, name) in (1..).zip(&network.names) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "cluster_formation.classic_config.nodes.{number} = {name}@localhost");
        }
    }
    text
}

/// Returns the environment of the node and of `rabbitmqctl`: every path is in the node's folder.
fn environment(folder: &Path, name: &str, mapper_port: u16) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let loopback = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false".to_owned();
    vec![
        ("HOME", path("home")),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("ERL_EPMD_PORT", mapper_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", format!("{name}@localhost")),
        ("RABBITMQ_DIST_PORT", free_port().to_string()),
        ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback.clone()),
        ("RABBITMQ_CTL_ERL_ARGS", loopback),
        ("RABBITMQ_CTL_DIST_PORT_MIN", "0".to_owned()),
        ("RABBITMQ_CTL_DIST_PORT_MAX", "0".to_owned()),
        // Makes the start script replace itself with the node, so that its process id is the node's.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
    ]
}

/// Whether a broker answers on the port: a connection alone is no proof, as another program could listen
/// there.
async fn accepts_clients(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    // The broker's first answer, `Connection.Start`, is a method frame, which is type 1.
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.is_ok() && stream.read_u8().await.ok() == Some(1)
}
