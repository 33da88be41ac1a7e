//! A private PostgreSQL.
//!
//! `hooksentry dev` needs a database without any set-up, and the facts in it must be as safe as anywhere: so
//! its settings are durable, and its data folder is kept. There is no TCP and no password: the server listens
//! on a Unix socket in a folder that only its user can enter.
//!
//! **Lifetime.** The server ends with this process (`guard`). If the guard is killed too, the server
//! continues to run; the next start finds it by its pid file, stops it, and then starts its own. A server
//! that was killed recovers from its write-ahead log like any PostgreSQL.
//!
//! **One owner.** A lock on a file in the folder belongs to the process and ends with it, so a second owner
//! is refused for exactly as long as the first one lives.
//!
//! **Root.** PostgreSQL refuses to run as root. Its programs then run as an unprivileged user, who owns the
//! data. If that user cannot enter the requested folder (such as one in `/root`), the data goes to
//! `/var/lib/hooksentry`; [`PrivatePostgres::data_dir`] returns the folder in use.

mod folder;
mod initialization;
pub(crate) mod installation;
mod settings;
mod stale_server;
mod standby;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tokio::time::{Instant, sleep};

use crate::START_LIMIT;
use crate::error::ServerError;
use crate::guard::{GuardedProcess, POLL_INTERVAL};
use crate::server_user::ServerUser;
use folder::Folder;
use installation::Installation;
use stale_server::PidFile;

/// Time for which the child processes of a server that was killed may still hold its shared memory.
const SHARED_MEMORY_RELEASED_WITHIN: Duration = Duration::from_secs(15);

/// Name of the superuser and of the database.
const NAME: &str = "hooksentry";

/// Characters that need no escape in a URL.
const ESCAPED_IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether committed data survives a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Durable,
    /// Does not wait for the disk: for tests.
    Disposable,
}

/// How to start a private PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Folder for data, socket, lock and log; created if it does not exist.
    pub data_dir: PathBuf,
    pub durability: Durability,
    /// Further arguments of `postgres`, such as `-c` and `shared_buffers=1GB`. They win over the defaults.
    pub arguments: Vec<String>,
}

impl PostgresOptions {
    /// Options without further arguments.
    #[must_use]
    pub fn new(data_dir: &Path, durability: Durability) -> Self {
        Self { data_dir: data_dir.to_owned(), durability, arguments: Vec::new() }
    }
}

/// A running private PostgreSQL. Dropping it stops the server too, but does not wait for it.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: GuardedProcess,
    folder: Folder,
    socket_folder: PathBuf,
    installation: Installation,
    user: ServerUser,
}

impl PrivatePostgres {
    /// Starts the server, recovers the data of an earlier one, and returns when the database can be used.
    ///
    /// # Errors
    /// No fitting PostgreSQL is installed, another process uses the folder, the folder cannot be used, or the
    /// server does not start within two minutes.
    pub async fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let user = ServerUser::choose("postgres").await?;
        let (folder, user) = Folder::occupy(&options.data_dir, &user).await?;
        let written_by = fs::read_to_string(folder.data().join("PG_VERSION"))
            .ok()
            .and_then(|version| version.trim().parse().ok());
        let installation = Installation::find(written_by, folder.root()).await?;
        if written_by.is_none() {
            initialization::create_data(&folder, &installation, &user, options.durability).await?;
        }
        let had_predecessor = stale_server::stop(&folder, &installation, &user).await?;
        let socket_folder = folder.prepare_socket_folder(&user)?;

        let began = Instant::now();
        let server = loop {
            match start_server(&installation, &user, &folder, &socket_folder, &options, began).await {
                Err(ServerError::Ended { .. })
                    if had_predecessor && began.elapsed() < SHARED_MEMORY_RELEASED_WITHIN =>
                {
                    sleep(POLL_INTERVAL).await;
                }
                started => break started?,
            }
        };
        tracing::info!(
            postgres.version = installation.major(),
            postgres.user = user.name(),
            postgres.data_dir = %folder.root().display(),
            "the private PostgreSQL is ready"
        );
        Ok(Self { server, folder, socket_folder, installation, user })
    }

    /// The URL of the database, for sqlx and psql alike.
    #[must_use]
    pub fn url(&self) -> String {
        // Port and TLS mode are explicit because clients would otherwise take them from the environment.
        let host = percent_encode(self.socket_folder.as_os_str().as_encoded_bytes(), ESCAPED_IN_URL);
        format!("postgres://{NAME}@{host}:5432/{NAME}?sslmode=disable")
    }

    /// The path of the socket on which the server listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_folder.join(folder::SOCKET_NAME)
    }

    /// The folder in use, which for root may differ from the requested one.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.folder.root()
    }

    /// The folder of PostgreSQL's programs, such as `psql`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.installation.folder()
    }

    /// The id of the server's main process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.server.process_id()
    }

    /// Resolves with the reason if the server ends without having been stopped.
    pub async fn unexpected_end(&mut self) -> ServerError {
        self.server.unexpected_end().await
    }

    /// Ends the server without a shutdown, as `pg_ctl stop -m immediate` does, and waits until it has ended. The
    /// next start recovers its data.
    pub async fn crash(mut self) {
        self.server.signal("QUIT");
        self.server.unexpected_end().await;
    }

    /// Stops the server and waits until everything is written. Open transactions are rolled back.
    ///
    /// # Errors
    /// The server does not end within a minute, or reports a failure.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.server.stop().await?;
        // A folder that cannot be removed does no harm: the next start uses it.
        let _ = fs::remove_dir(&self.socket_folder);
        Ok(())
    }
}

async fn start_server(
    installation: &Installation,
    user: &ServerUser,
    folder: &Folder,
    socket_folder: &Path,
    options: &PostgresOptions,
    began: Instant,
) -> Result<GuardedProcess, ServerError> {
    // SIGINT is PostgreSQL's fast shutdown: it rolls back open transactions and writes what was committed.
    let mut command = GuardedProcess::command(user, "INT", &installation.program("postgres"));
    command.arg("-D").arg(folder.data());
    for (name, value) in settings::of_server(socket_folder, options.durability) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.args(&options.arguments);
    let mut server = GuardedProcess::spawn(command, folder.log()).await?;
    let process_id = server.process_id();
    let data = folder.data();
    server
        .wait_until(began + START_LIMIT, async || {
            // `pg_ctl --wait` uses the same condition. The process id excludes the file of a predecessor.
            PidFile::read(&data).is_ok_and(|file| file.is_some_and(|file| file.is_ready(process_id)))
        })
        .await?;
    Ok(server)
}
