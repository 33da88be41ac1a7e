//! A PostgreSQL cluster under Patroni: two nodes of which one is a synchronous standby, etcd for their election,
//! and HAProxy, which connects clients to the primary.
//!
//! The programs are those of Debian's packages `patroni`, `etcd-server` and `haproxy`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::START_LIMIT;
use crate::error::{ServerError, failure};
use crate::guard::{GuardedProcess, POLL_INTERVAL};
use crate::postgres::installation::Installation;
use crate::rabbitmq::free_port;
use crate::server_user::ServerUser;

const PATRONI: &str = "/usr/bin/patroni";
const ETCD: &str = "/usr/bin/etcd";
const HAPROXY: &str = "/usr/sbin/haproxy";
const NODES: usize = 2;
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// A running cluster.
#[derive(Debug)]
pub struct PatroniCluster {
    address: SocketAddr,
    // Nodes end before what they need.
    nodes: Vec<PatroniNode>,
    _haproxy: GuardedProcess,
    _etcd: GuardedProcess,
}

/// One node: Patroni, and the PostgreSQL that it runs.
#[derive(Debug)]
struct PatroniNode {
    name: String,
    folder: PathBuf,
    user: ServerUser,
    postgres_port: u16,
    api_port: u16,
    /// `None` while it is killed.
    process: Option<GuardedProcess>,
}

/// Whether the programs are installed.
#[must_use]
pub fn is_installed() -> bool {
    [PATRONI, ETCD, HAPROXY].iter().all(|program| Path::new(program).is_file())
}

impl PatroniCluster {
    /// Starts a cluster with its files in the new folder `folder`, and waits until the standby is synchronous.
    ///
    /// # Errors
    /// A program is not installed, or does not do its part within two minutes.
    pub async fn start(folder: &Path) -> Result<Self, ServerError> {
        let user = ServerUser::choose("postgres").await?;
        fs::create_dir_all(folder).map_err(failure("create", folder))?;
        let installation = Installation::find(None, folder).await?;
        let etcd_port = free_port();
        let etcd = start_etcd(folder, &user, etcd_port).await?;
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let mut node = PatroniNode::create(folder, number, &user, &installation, etcd_port)?;
            node.start().await?;
            // The first one creates the data, which the second one copies.
            node.until(if number == 1 { "/primary" } else { "/sync" }).await?;
            nodes.push(node);
        }
        let port = free_port();
        let haproxy = start_haproxy(folder, &user, port, &nodes).await?;
        let cluster =
            Self { address: SocketAddr::from(([127, 0, 0, 1], port)), nodes, _haproxy: haproxy, _etcd: etcd };
        Ok(cluster)
    }

    /// The address at which clients reach the primary.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database of the primary.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://hooksentry@{}/{database}?sslmode=disable", self.address)
    }

    /// Kills the primary with SIGKILL, PostgreSQL and Patroni alike, and returns when another node is the primary.
    ///
    /// # Errors
    /// There is no primary, or no other one within two minutes.
    pub async fn fail_over(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_LIMIT;
        let killed = loop {
            if let Some(primary) = self.position_of("/primary").await {
                self.nodes[primary].kill();
                break primary;
            }
            if Instant::now() >= deadline {
                return Err(self.nodes[0].not_ready());
            }
            sleep(POLL_INTERVAL).await;
        };
        while self.position_of("/primary").await.is_none_or(|primary| primary == killed) {
            if Instant::now() >= deadline {
                return Err(self.nodes[killed].not_ready());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Starts the nodes that were killed, and waits until they are synchronous standbys.
    ///
    /// # Errors
    /// A node does not become one within two minutes.
    pub async fn repair(&mut self) -> Result<(), ServerError> {
        for node in self.nodes.iter_mut().filter(|node| node.process.is_none()) {
            node.start().await?;
            node.until("/sync").await?;
        }
        Ok(())
    }

    async fn position_of(&self, path: &str) -> Option<usize> {
        for (number, node) in self.nodes.iter().enumerate() {
            if node.process.is_some() && is_ok(node.api_port, path).await {
                return Some(number);
            }
        }
        None
    }
}

impl PatroniNode {
    fn create(
        folder: &Path,
        number: usize,
        user: &ServerUser,
        installation: &Installation,
        etcd_port: u16,
    ) -> Result<Self, ServerError> {
        let name = format!("node-{number}");
        let folder = folder.join(&name);
        let node = Self {
            name,
            folder,
            user: user.clone(),
            postgres_port: free_port(),
            api_port: free_port(),
            process: None,
        };
        user.own_folder(&node.folder).map_err(failure("create", &node.folder))?;
        let path = node.configuration_path();
        let text = node.configuration(installation, etcd_port);
        user.write_file(&path, &text).map_err(failure("write", &path))?;
        Ok(node)
    }

    fn configuration_path(&self) -> PathBuf {
        self.folder.join("patroni.yml")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The cluster is private to this machine, so its connections are trusted.
    fn configuration(&self, installation: &Installation, etcd_port: u16) -> String {
        let Self { name, postgres_port, api_port, .. } = self;
        let (folder, programs) = (self.folder.display(), installation.folder().display());
        format!(
            "scope: chaos
name: {name}
restapi: {{listen: '127.0.0.1:{api_port}', connect_address: '127.0.0.1:{api_port}'}}
etcd3: {{host: '127.0.0.1:{etcd_port}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_slots: false
      parameters: {{wal_level: replica, max_connections: 300, fsync: 'off', max_wal_senders: 10, wal_keep_size: 256MB}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, no-sync]
postgresql:
  listen: '127.0.0.1:{postgres_port}'
  connect_address: '127.0.0.1:{postgres_port}'
  data_dir: '{folder}/data'
  bin_dir: '{programs}'
  pgpass: '{folder}/pgpass'
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {{username: hooksentry}}
    replication: {{username: hooksentry}}
  parameters: {{unix_socket_directories: '{folder}'}}
  pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
"
        )
    }

    async fn start(&mut self) -> Result<(), ServerError> {
        let mut command = GuardedProcess::command(&self.user, "TERM", Path::new(PATRONI));
        command.arg(self.configuration_path()).env("HOME", &self.folder);
        let log = self.folder.with_extension("log");
        self.process = Some(GuardedProcess::spawn(command, log).await?);
        Ok(())
    }

    /// Waits until its API answers 200 to this path.
    async fn until(&mut self, path: &str) -> Result<(), ServerError> {
        let port = self.api_port;
        match &mut self.process {
            Some(process) => {
                process.wait_until(Instant::now() + START_LIMIT, async || is_ok(port, path).await).await
            }
            None => Err(self.not_ready()),
        }
    }

    /// Kills PostgreSQL before Patroni: it would stay behind without it.
    fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.signal("STOP");
        let postmaster = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(postmaster) = postmaster.lines().next() {
            // One that has ended by itself needs no signal.
            let _ = std::process::Command::new("kill").args(["-KILL", postmaster]).status();
        }
        process.kill();
    }

    fn not_ready(&self) -> ServerError {
        let log = self.folder.with_extension("log");
        ServerError::NotReady { log_end: format!("{} has not its role", self.name), log }
    }
}

impl Drop for PatroniNode {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn start_etcd(folder: &Path, user: &ServerUser, port: u16) -> Result<GuardedProcess, ServerError> {
    let data = folder.join("etcd");
    user.own_folder(&data).map_err(failure("create", &data))?;
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
    let mut command = GuardedProcess::command(user, "TERM", Path::new(ETCD));
    command
        .arg("--data-dir")
        .arg(&data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")]);
    let mut process = GuardedProcess::spawn(command, folder.join("etcd.log")).await?;
    process.wait_until(Instant::now() + START_LIMIT, async || is_ok(port, "/health").await).await?;
    Ok(process)
}

async fn start_haproxy(
    folder: &Path,
    user: &ServerUser,
    port: u16,
    nodes: &[PatroniNode],
) -> Result<GuardedProcess, ServerError> {
    let mut text = format!(
        "global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:{port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"
    );
    for node in nodes {
        let PatroniNode { name, postgres_port, api_port, .. } = node;
        text.push_str(&format!("  server {name} 127.0.0.1:{postgres_port} check port {api_port}\n"));
    }
    let path = folder.join("haproxy.cfg");
    user.write_file(&path, &text).map_err(failure("write", &path))?;
    let mut command = GuardedProcess::command(user, "TERM", Path::new(HAPROXY));
    command.args(["-db", "-f"]).arg(&path);
    let mut process = GuardedProcess::spawn(command, folder.join("haproxy.log")).await?;
    process
        .wait_until(Instant::now() + START_LIMIT, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
    Ok(process)
}

/// Whether a GET on a port of this machine is answered with 200.
async fn is_ok(port: u16, path: &str) -> bool {
    let request = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    matches!(timeout(STATUS_TIMEOUT, request).await, Ok(Ok(true)))
}
