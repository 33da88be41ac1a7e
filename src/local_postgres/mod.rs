//! A private PostgreSQL for `hooksentry dev` and for the tests.
//!
//! Nobody should have to set up a database to see the program run, and nobody's facts should be less safe
//! for that: so this is a real PostgreSQL, from the programs on the machine, with durable settings and a
//! folder of its own. It listens on a Unix socket in a folder that only its user can enter; there is no
//! password because there is no other way in.
//!
//! **Life and death.** The server is a child of a small shell guard, and the guard reads a pipe whose other
//! end only we hold. However our process ends, the operating system closes that end, and the guard tells the
//! server to shut down. (A death signal from the kernel would be bound to one *thread* of ours and exists on
//! Linux only.) Should the guard be killed too, the server lives on alone: the next start finds it by its
//! pid file, stops it, and then starts its own. If the server itself was killed, it recovers from its
//! write-ahead log like any PostgreSQL.
//!
//! **One owner.** A lock on a file in the folder belongs to the process and goes with it, so a second owner
//! is refused for exactly as long as the first one lives.
//!
//! **Root.** PostgreSQL refuses to run as root. Then its programs run as `postgres` or `nobody`, who owns the
//! data. If that user cannot enter the folder that was asked for (think of `/root`), the data goes to
//! `/var/lib/hooksentry`; [`LocalPostgres::data_dir`] tells.

mod error;
mod folder;
mod installation;
mod server;
mod server_user;
mod stale_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep};

pub use error::LocalPostgresError;
use folder::{Folder, failure};
use installation::Installation;
use server::{POLL_INTERVAL, Server};
use server_user::ServerUser;

/// Recovery after a crash replays up to `max_wal_size`, on a slow disk too.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long the children of a server that was killed may still hold its memory.
const REMAINS_LIMIT: Duration = Duration::from_secs(15);

const USER: &str = "hooksentry";
const DATABASE: &str = "hooksentry";

/// What becomes of the data when the machine loses power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What was committed is on the disk.
    Durable,
    /// Nobody will ask for it again: for tests, where waiting for the disk is wasted time.
    Disposable,
}

/// How to start a private PostgreSQL.
#[derive(Debug, Clone)]
pub struct LocalPostgresOptions {
    /// The folder for data, socket, lock and log. It is made when it does not exist.
    pub data_dir: PathBuf,
    /// Whether the data has to survive a power failure.
    pub durability: Durability,
}

/// A running private PostgreSQL. Dropping it stops the server too, but without waiting for it.
#[derive(Debug)]
pub struct LocalPostgres {
    server: Server,
    folder: Folder,
    socket_folder: PathBuf,
}

impl LocalPostgres {
    /// Starts the server, recovers what an earlier one left, and answers once the database can be used.
    pub async fn start(options: LocalPostgresOptions) -> Result<Self, LocalPostgresError> {
        let user = ServerUser::choose().await?;
        let (folder, user) = Folder::occupy(&options.data_dir, &user).await?;
        let written_by = fs::read_to_string(folder.data().join("PG_VERSION"))
            .ok()
            .and_then(|version| version.trim().parse().ok());
        let installation = Installation::find(written_by, folder.root()).await?;
        if written_by.is_none() {
            initialise(&folder, &installation, &user, options.durability).await?;
        }
        let had_predecessor = stale_server::clear_away(&folder, &installation, &user).await?;
        let socket_folder = folder.prepare_socket_folder(&user)?;

        let began = Instant::now();
        let server = loop {
            let mut server =
                Server::spawn(&installation, &user, &folder, &socket_folder, options.durability)?;
            let options = connect_options(&socket_folder).database("postgres");
            match server.wait_until_ready(&options, began + START_LIMIT).await {
                Ok(connection) => {
                    create_database(connection)
                        .await
                        .map_err(|source| LocalPostgresError::NoDatabase { source })?;
                    break server;
                }
                Err(LocalPostgresError::Ended { .. })
                    if had_predecessor && began.elapsed() < REMAINS_LIMIT =>
                {
                    sleep(POLL_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        };
        tracing::info!(
            postgres.version = installation.major(),
            postgres.user = user.name(),
            postgres.data_dir = %folder.root().display(),
            "the private PostgreSQL is ready"
        );
        Ok(Self { server, folder, socket_folder })
    }

    /// The address of the database, for sqlx and psql alike.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The address of another database of this server.
    pub fn url_of(&self, database: &str) -> String {
        // Port and TLS mode are spelt out because clients would otherwise take them from the environment.
        format!(
            "postgres://{USER}@{}:5432/{}?sslmode=disable",
            percent_encoded(self.socket_folder.as_os_str().as_encoded_bytes()),
            percent_encoded(database.as_bytes())
        )
    }

    /// The folder that is really used, which as root may be another one than was asked for.
    pub fn data_dir(&self) -> &Path {
        self.folder.root()
    }

    /// Resolves if the server ends without having been stopped, with the reason.
    pub async fn ended_by_itself(&mut self) -> LocalPostgresError {
        self.server.ended_by_itself().await
    }

    /// Stops the server and waits until everything is written. Open transactions are rolled back.
    pub async fn stop(self) -> Result<(), LocalPostgresError> {
        self.server.stop().await?;
        // Left behind it would do no harm; the next start takes it over.
        let _ = fs::remove_dir(&self.socket_folder);
        Ok(())
    }
}

/// Makes the data folder. A crash half-way leaves nothing that could be taken for data.
async fn initialise(
    folder: &Folder,
    installation: &Installation,
    user: &ServerUser,
    durability: Durability,
) -> Result<(), LocalPostgresError> {
    let unfinished = folder.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failure("remove", &unfinished))?;
    }
    user.own(&unfinished).map_err(failure("make", &unfinished))?;
    let mut initdb = user.command(&installation.program("initdb"));
    initdb
        .args(["--username", USER, "--encoding=UTF8", "--locale=C", "--no-instructions"])
        // The folder of the socket is the lock on this door.
        .args(["--auth-local=trust", "--auth-host=reject"])
        .arg("-D")
        .arg(&unfinished);
    if durability == Durability::Disposable {
        initdb.arg("--no-sync");
    }
    user.run(&mut initdb).await?;
    fs::rename(&unfinished, folder.data()).map_err(failure("rename", &unfinished))?;
    if durability == Durability::Durable {
        folder.sync()?;
    }
    Ok(())
}

async fn create_database(mut connection: PgConnection) -> Result<(), sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        sqlx::query("CREATE DATABASE hooksentry").execute(&mut connection).await?;
    }
    connection.close().await
}

fn connect_options(socket_folder: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_folder)
        .port(5432)
        .username(USER)
        .ssl_mode(sqlx::postgres::PgSslMode::Disable)
}

fn percent_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_any_name_fits_into_a_url() {
        assert_eq!(percent_encoded("/a b/ö%".as_bytes()), "%2Fa%20b%2F%C3%B6%25");
    }
}
