//! The server process and its guard.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::Durability;
use super::error::LocalPostgresError;
use super::folder::{Folder, failure};
use super::installation::Installation;
use super::server_user::ServerUser;

/// Between two looks at a condition that PostgreSQL cannot announce to us.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A stop writes everything that is still in memory; past this the disk is not slow but broken.
const STOP_LIMIT: Duration = Duration::from_secs(60);

const LOG_END_LINES: usize = 8;

/// Starts the server and stops it once standard input closes, which happens when the process that holds the
/// other end stops it or dies, by whatever death. SIGINT is PostgreSQL's fast shutdown: open transactions
/// are rolled back and what was committed is written.
const GUARD: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ while read -r _; do :; done <&3; kill -INT "$server"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

#[derive(Debug)]
pub(super) struct Server {
    guard: Child,
    lifeline: OwnedFd,
    log: PathBuf,
}

impl Server {
    pub(super) fn spawn(
        installation: &Installation,
        user: &ServerUser,
        folder: &Folder,
        socket_folder: &Path,
        durability: Durability,
    ) -> Result<Self, LocalPostgresError> {
        let log = folder.log();
        let log_file = open_log(&log).map_err(failure("open", &log))?;
        let shell = Path::new("/bin/sh");
        let not_run = |source| LocalPostgresError::NotRun { program: shell.to_owned(), source };

        let mut command = user.command(shell);
        command.args(["-c", GUARD, "sh"]);
        command.arg(installation.program("postgres")).arg("-D").arg(folder.data());
        for (name, value) in settings(socket_folder, durability) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            // Ctrl-C goes to everybody in the foreground, and the database has to outlive its users.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log_file.try_clone().map_err(failure("open", &log))?)
            .stderr(log_file);

        let mut guard = command.spawn().map_err(not_run)?;
        let lifeline = guard
            .stdin
            .take()
            .ok_or_else(|| not_run(std::io::ErrorKind::BrokenPipe.into()))?
            .into_owned_fd()
            .map_err(not_run)?;
        Ok(Self { guard, lifeline, log })
    }

    /// Waits until the server lets us in, or has ended, or the time is up.
    pub(super) async fn wait_until_ready(
        &mut self,
        options: &PgConnectOptions,
        deadline: Instant,
    ) -> Result<PgConnection, LocalPostgresError> {
        let options = options.clone().disable_statement_logging();
        loop {
            let refusal = match PgConnection::connect_with(&options).await {
                Ok(connection) => return Ok(connection),
                Err(refusal) => refusal,
            };
            if let Some(status) = self.guard.try_wait().map_err(failure("watch", &self.log))? {
                return Err(self.ended(status));
            }
            if Instant::now() >= deadline {
                return Err(LocalPostgresError::NotReady { log: self.log.clone(), source: refusal });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Resolves when the server ends by itself, which it never should.
    pub(super) async fn ended_by_itself(&mut self) -> LocalPostgresError {
        match self.guard.wait().await {
            Ok(status) => self.ended(status),
            Err(source) => failure("watch", &self.log)(source),
        }
    }

    /// Stops the server and waits until it has written everything.
    pub(super) async fn stop(mut self) -> Result<(), LocalPostgresError> {
        drop(self.lifeline);
        let status = timeout(STOP_LIMIT, self.guard.wait())
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(failure("stop the server of", &self.log))?;
        if status.success() {
            return Ok(());
        }
        Err(LocalPostgresError::Ended { status, log_end: end_of(&self.log), log: self.log })
    }

    fn ended(&self, status: ExitStatus) -> LocalPostgresError {
        LocalPostgresError::Ended { status, log: self.log.clone(), log_end: end_of(&self.log) }
    }
}

/// Set on the command line, so that neither a file in the data folder nor ALTER SYSTEM can undo them.
fn settings(socket_folder: &Path, durability: Durability) -> Vec<(&'static str, String)> {
    let (sync, connections) = match durability {
        Durability::Durable => ("on", "100"),
        Durability::Disposable => ("off", "500"),
    };
    // The setting is a list in which quotes keep commas and blanks from separating.
    let socket_folder = format!("\"{}\"", socket_folder.display().to_string().replace('"', "\"\""));
    let mut settings = vec![("unix_socket_directories", socket_folder)];
    settings.extend(
        [
            // No TCP at all: who may enter the socket's folder may use the database, and nobody else.
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("port", "5432"),
            ("max_connections", connections),
            ("fsync", sync),
            ("full_page_writes", sync),
            ("synchronous_commit", "on"),
            // There are no replicas, so the log need only bring this server back.
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("max_wal_size", "1GB"),
            ("shared_buffers", "128MB"),
            // Our statements are short; compiling a plan costs more than running it.
            ("jit", "off"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_destination", "stderr"),
            ("logging_collector", "off"),
            ("log_checkpoints", "off"),
            ("cluster_name", "hooksentry"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    settings
}

/// Begun anew with each start, so that it cannot grow for ever; for its owner only, as PostgreSQL writes
/// statements there that failed.
fn open_log(log: &Path) -> std::io::Result<File> {
    File::options().create(true).write(true).truncate(true).mode(0o600).open(log)
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_END_LINES)..].join(" / ")
}
