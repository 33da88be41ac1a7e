//! The server that an earlier process left running because it was killed.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::folder::Folder;
use super::installation::Installation;
use crate::error::{ServerError, failure};
use crate::guard::POLL_INTERVAL;
use crate::server_user::ServerUser;

/// Time for which a server may be shutting down before the process with its id is taken for an unrelated one.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Contents of `postmaster.pid`: one value a line, in an order that PostgreSQL documents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    process: Option<u32>,
    socket: Option<PathBuf>,
    status: Option<String>,
}

impl PidFile {
    /// Reads the file in a data folder; `None` if there is none, as after a clean shutdown.
    pub(super) fn read(data: &Path) -> Result<Option<Self>, ServerError> {
        let path = Self::path(data);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("read", &path)(error)),
        }
    }

    fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let socket = match (lines.get(3), lines.get(4)) {
            (Some(port), Some(folder)) if !port.is_empty() && !folder.is_empty() => {
                Some(Path::new(folder).join(format!(".s.PGSQL.{port}")))
            }
            _ => None,
        };
        Self {
            process: lines.first().and_then(|line| line.parse().ok()),
            socket,
            status: lines.get(7).map(|&status| status.to_owned()),
        }
    }

    /// Whether the server with this process id accepts connections, as a primary or as a standby.
    pub(super) fn is_ready(&self, process: u32) -> bool {
        self.process == Some(process) && matches!(self.status.as_deref(), Some("ready" | "standby"))
    }

    /// Whether a server listens on the socket. It can only be ours: the folder of the socket is private.
    fn is_listening(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| UnixStream::connect(socket).is_ok())
    }
}

/// Stops the server that an earlier process left in this folder; returns whether there was one.
///
/// This process holds the lock, so the earlier one has ended. Usually its server has ended too or is shutting
/// down, because its guard stops it; but the guard can be killed as well.
pub(super) async fn stop(
    folder: &Folder,
    installation: &Installation,
    user: &ServerUser,
) -> Result<bool, ServerError> {
    let data = folder.data();
    let Some(stale) = PidFile::read(&data)? else { return Ok(false) };

    // The socket is checked first: after a reboot any process can have that id, and `pg_ctl stop` would
    // signal it.
    if stale.is_listening() {
        let mut stop = user.command(&installation.program("pg_ctl"));
        stop.args(["stop", "-m", "fast", "-w", "-t", "60", "-D"]).arg(&data);
        let stopped = user.run(&mut stop).await;
        // The server may have ended by itself before the signal.
        if stale.is_listening() {
            stopped?;
        }
    }

    let deadline = Instant::now() + SHUTDOWN_LIMIT;
    while let Some(PidFile { process: Some(process), .. }) = PidFile::read(&data)? {
        if !user.runs(process).await? {
            // PostgreSQL recognises the file as stale by itself.
            break;
        }
        if process == std::process::id() || Instant::now() >= deadline {
            // An unrelated process has this id. PostgreSQL would take it for its predecessor and refuse to
            // start. If it is a server after all, the shared memory that it holds still prevents a second
            // one.
            let path = PidFile::path(&data);
            fs::remove_file(&path).map_err(failure("remove", &path))?;
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_names_process_socket_and_status() {
        let text = "4711\n/data\n1700000000\n5432\n/run/it\n\n  123  456\nready   \n";
        let file = PidFile::parse(text);
        assert_eq!(
            (file.process, file.socket.as_deref()),
            (Some(4711), Some(Path::new("/run/it/.s.PGSQL.5432")))
        );
        assert!(file.is_ready(4711) && !file.is_ready(4712));
        assert!(PidFile::parse(&text.replace("ready", "standby")).is_ready(4711));
        assert!(!PidFile::parse(&text.replace("ready", "starting")).is_ready(4711));
    }

    #[test]
    fn a_pid_file_that_is_being_written_is_read_as_far_as_it_goes() {
        assert_eq!(PidFile::parse(""), PidFile { process: None, socket: None, status: None });
        assert_eq!(PidFile::parse("12\n/data\n"), PidFile { process: Some(12), socket: None, status: None });
    }
}
