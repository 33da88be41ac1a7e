//! The PostgreSQL of the installation, which is restarted and replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use fault_proxy::{Direction, Fault, FaultProxy, Scope, Target};
use private_servers::patroni::PatroniCluster;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// Time within which a standby must have received what the primary wrote.
const STANDBY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Settings that replication needs.
const ARGUMENTS: [&str; 8] = [
    "-c",
    "wal_level=replica",
    "-c",
    "max_wal_senders=10",
    "-c",
    "wal_keep_size=256MB",
    "-c",
    "wal_sender_timeout=5s",
];

/// The PostgreSQL of the installation.
pub(crate) struct Database {
    folder: PathBuf,
    /// Number of clusters that were created.
    clusters: u32,
    current: PathBuf,
    server: DatabaseServer,
}

/// The server, or the cluster, of the installation.
enum DatabaseServer {
    /// `None` only while it is restarted.
    Own(Option<PrivatePostgres>),
    Patroni(PatroniCluster),
}

/// Standby of the installation's PostgreSQL.
pub(crate) struct Standby {
    folder: PathBuf,
    postgres: PrivatePostgres,
    replication: FaultProxy,
}

impl Database {
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let server = DatabaseServer::Own(None);
        let mut database = Self { folder: folder.to_owned(), clusters: 0, current: PathBuf::new(), server };
        let cluster = database.next_folder();
        database.server = DatabaseServer::Own(Some(start(&cluster).await?));
        database.current = cluster;
        Ok(database)
    }

    /// Starts a cluster under Patroni instead.
    pub(super) async fn start_patroni(folder: &Path) -> anyhow::Result<Self> {
        let current = folder.join("patroni");
        let cluster = PatroniCluster::start(&current).await?;
        let deadline = Instant::now() + STANDBY_WITHIN;
        let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
        // Before its first checks HAProxy takes every node for a primary.
        while sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await? {
            if Instant::now() >= deadline {
                bail!("HAProxy does not find the primary within {STANDBY_WITHIN:?}");
            }
            sleep(POLL_INTERVAL).await;
            connection = PgConnection::connect(&cluster.url("postgres")).await?;
        }
        sqlx::raw_sql("CREATE DATABASE hooksentry").execute(&mut connection).await?;
        let server = DatabaseServer::Patroni(cluster);
        Ok(Self { folder: folder.to_owned(), clusters: 0, current, server })
    }

    /// Returns the cluster under Patroni.
    ///
    /// # Errors
    /// It is another server.
    pub(crate) fn patroni(&mut self) -> anyhow::Result<&mut PatroniCluster> {
        match &mut self.server {
            DatabaseServer::Patroni(cluster) => Ok(cluster),
            DatabaseServer::Own(_) => bail!("the database is not under Patroni"),
        }
    }

    /// Returns the server that this suite starts by itself, leaving none.
    fn take(&mut self) -> Option<PrivatePostgres> {
        match &mut self.server {
            DatabaseServer::Own(server) => server.take(),
            DatabaseServer::Patroni(_) => None,
        }
    }

    fn next_folder(&mut self) -> PathBuf {
        self.clusters += 1;
        self.folder.join(format!("postgres-{}", self.clusters))
    }

    fn own(&self) -> anyhow::Result<&PrivatePostgres> {
        match &self.server {
            DatabaseServer::Own(Some(server)) => Ok(server),
            DatabaseServer::Own(None) => bail!("PostgreSQL did not start again"),
            DatabaseServer::Patroni(_) => bail!("this fault is not possible under Patroni"),
        }
    }

    /// Where proxies find it.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn target(&self) -> anyhow::Result<Target> {
        match &self.server {
            DatabaseServer::Patroni(cluster) => Ok(cluster.address().into()),
            DatabaseServer::Own(_) => Ok(Target::Unix(self.own()?.socket())),
        }
    }

    /// Its URL without a proxy of this suite.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        match &self.server {
            DatabaseServer::Patroni(cluster) => Ok(cluster.url("hooksentry")),
            DatabaseServer::Own(_) => Ok(self.own()?.url()),
        }
    }

    /// Opens a connection without a proxy.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url()?).await?)
    }

    /// Ends the server without a shutdown, and starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn crash(&mut self) -> anyhow::Result<()> {
        self.own()?;
        if let Some(server) = self.take() {
            server.crash().await;
        }
        self.server = DatabaseServer::Own(Some(start(&self.current).await?));
        Ok(())
    }

    /// Creates a standby that follows the server through a proxy, and waits until it streams.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn create_standby(&mut self) -> anyhow::Result<Standby> {
        let folder = self.next_folder();
        let replication = FaultProxy::start(self.target()?).await?;
        let address = replication.address();
        let primary =
            format!("host={} port={} user=hooksentry sslmode=disable", address.ip(), address.port());
        self.own()?.create_standby(&folder, &primary).await.context("no base backup")?;
        let postgres = start(&folder).await.context("the standby does not start")?;
        self.until_replication("state = 'streaming'").await?;
        Ok(Standby { folder, postgres, replication })
    }

    /// Makes every commit wait for the standby, or none.
    ///
    /// # Errors
    /// The server does not answer, or the standby does not become synchronous.
    pub(crate) async fn set_synchronous(&self, synchronous: bool) -> anyhow::Result<()> {
        let names = if synchronous { "*" } else { "" };
        let mut connection = self.connect().await?;
        let statement = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        sqlx::raw_sql(&statement).execute(&mut connection).await?;
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut connection).await?;
        let expected = if synchronous { "sync_state = 'sync'" } else { "sync_state = 'async'" };
        self.until_replication(expected).await
    }

    async fn until_replication(&self, condition: &str) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let question = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'hooksentry' AND {condition})"
        );
        let deadline = Instant::now() + STANDBY_WITHIN;
        while Instant::now() < deadline {
            if sqlx::query_scalar(&question).fetch_one(&mut connection).await? {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("no standby has {condition} within {STANDBY_WITHIN:?}")
    }

    /// Replaces the server with its standby, and removes the old one.
    ///
    /// # Errors
    /// The standby cannot be promoted.
    pub(crate) async fn promote(&mut self, standby: Standby) -> anyhow::Result<()> {
        let Standby { folder, postgres, replication } = standby;
        replication.set(Scope::All, Direction::Both, Fault::Cut);
        let old = self.take();
        self.server = DatabaseServer::Own(Some(postgres));
        let old_folder = std::mem::replace(&mut self.current, folder);
        let mut connection = self.connect().await?;
        sqlx::raw_sql("SELECT pg_promote(true, 60)").execute(&mut connection).await?;
        // A standby has the settings of its primary. Commits would wait for a standby that does not exist.
        sqlx::raw_sql("ALTER SYSTEM RESET synchronous_standby_names").execute(&mut connection).await?;
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut connection).await?;
        remove(old, &old_folder).await;
        Ok(())
    }

    /// Dumps the database, restores it into a new cluster, and removes the old one.
    ///
    /// # Errors
    /// One of the steps fails.
    pub(crate) async fn move_to_new_cluster(&mut self) -> anyhow::Result<()> {
        let dump = self.folder.join("dump");
        let (programs, url) = (self.own()?.programs().to_owned(), self.url()?);
        run(Command::new(programs.join("pg_dump"))
            .args(["--format=custom", "--dbname", &url])
            .arg("--file")
            .arg(&dump))
        .await?;
        let folder = self.next_folder();
        let new = start(&folder).await?;
        let mut connection = PgConnection::connect(&new.url()).await?;
        // A dump of one database does not contain the roles of the cluster.
        let role = "CREATE ROLE hooksentry_tenant NOLOGIN";
        sqlx::raw_sql(role).execute(&mut connection).await?;
        run(Command::new(programs.join("pg_restore"))
            .args(["--exit-on-error", "--dbname", &new.url()])
            .arg(&dump))
        .await?;
        let old = self.take();
        self.server = DatabaseServer::Own(Some(new));
        let old_folder = std::mem::replace(&mut self.current, folder);
        remove(old, &old_folder).await;
        Ok(())
    }
}

impl Standby {
    /// Loses everything that the primary sends from now on, without a sign of it.
    pub(crate) fn lag(&self) {
        self.replication.set(Scope::All, Direction::Both, Fault::Swallow);
    }
}

async fn start(folder: &Path) -> anyhow::Result<PrivatePostgres> {
    let mut options = PostgresOptions::new(folder, Durability::Disposable);
    options.arguments = ARGUMENTS.map(str::to_owned).to_vec();
    Ok(PrivatePostgres::start(options).await?)
}

/// Ends a server that was replaced.
async fn remove(old: Option<PrivatePostgres>, folder: &Path) {
    if let Some(old) = old {
        old.crash().await;
    }
    // What cannot be removed now is removed with the folder of the run.
    let _ = fs::remove_dir_all(folder);
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        let program = command.as_std().get_program().display().to_string();
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
