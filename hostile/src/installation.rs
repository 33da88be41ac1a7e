//! The installation under attack: one process with all roles.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use private_servers::GuardedProcess;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Ports below the range from which outgoing connections take theirs.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

pub(crate) struct Installation {
    base: String,
    process: GuardedProcess,
    /// Folder of the log, which is removed with it.
    _folder: TempDir,
}

impl Installation {
    /// Starts the program in a database of its own.
    ///
    /// # Errors
    /// The database cannot be created, or the program is not ready within a minute.
    pub(crate) async fn start(program: &Path, database_url: &str) -> anyhow::Result<Self> {
        let database = format!("hostile_{:016x}", rand::random::<u64>());
        let mut server = PgConnection::connect(database_url).await.context("no PostgreSQL")?;
        server.execute(format!("CREATE DATABASE {database}").as_str()).await?;
        server.close().await?;
        let url = database_url.replacen("/hooksentry?", &format!("/{database}?"), 1);

        let port = free_port();
        let folder = tempfile::tempdir()?;
        let mut command = GuardedProcess::command_of_current_user("KILL", program);
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .env("DATABASE_URL", url)
            .env_remove("AMQP_URL")
            .env("HOOKSENTRY_JWT_KEY", "hostile:a-key-of-at-least-32-bytes-for-a-test")
            .env("HOOKSENTRY_ENCRYPTION_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
            .env("HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS", "true")
            .env("HOOKSENTRY_TENANT_CREATIONS_PER_HOUR", "0")
            // All clients connect from this machine: the header distinguishes attacker and neighbour.
            .env("HOOKSENTRY_TRUSTED_PROXIES", "127.0.0.0/8")
            .env("HOOKSENTRY_LOG", "warn");
        let process = GuardedProcess::spawn(command, folder.path().join("log")).await?;
        let installation = Self { base: format!("http://127.0.0.1:{port}"), process, _folder: folder };
        installation.until_ready().await?;
        Ok(installation)
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the sum of the metrics whose lines begin with `name`.
    ///
    /// # Errors
    /// The program does not answer.
    pub(crate) async fn sum_of(&self, name: &str) -> anyhow::Result<f64> {
        let client = hooksentry_client::http_client().timeout(READY_WITHIN).build()?;
        let metrics = client.get(format!("{}/metrics", self.base)).send().await?.error_for_status()?;
        let metrics = metrics.text().await?;
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.process_id()
    }

    pub(crate) fn stop(self) {
        self.process.kill();
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let client = hooksentry_client::http_client().timeout(Duration::from_secs(5)).build()?;
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let answer = client.get(format!("{}/health/ready", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("the program is not ready after {READY_WITHIN:?}")
    }
}

fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
