//! What an earlier process left behind when it was killed.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::LocalPostgresError;
use super::folder::{Folder, failure};
use super::installation::Installation;
use super::server::POLL_INTERVAL;
use super::server_user::ServerUser;

/// How long a server may have been dying before the process with its id is taken for somebody else's.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

/// What `postmaster.pid` says: one fact a line, in an order that PostgreSQL documents.
#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    process: Option<u32>,
    socket: Option<PathBuf>,
}

impl PidFile {
    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let socket = match (lines.get(3), lines.get(4)) {
            (Some(port), Some(folder)) if !port.is_empty() && !folder.is_empty() => {
                Some(Path::new(folder).join(format!(".s.PGSQL.{port}")))
            }
            _ => None,
        };
        Self { process: lines.first().and_then(|line| line.parse().ok()), socket }
    }

    /// Only a server of ours listens there: the folder of the socket is private.
    fn answers(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| UnixStream::connect(socket).is_ok())
    }
}

/// Ends the server that an earlier process left in this folder; answers whether there was one.
///
/// We hold the lock, so that process is gone. Its server is usually gone too or on its way, because its
/// guard stops it; but the guard can be killed as well.
pub(super) async fn clear_away(
    folder: &Folder,
    installation: &Installation,
    user: &ServerUser,
) -> Result<bool, LocalPostgresError> {
    let data = folder.data();
    let path = data.join("postmaster.pid");
    let Some(left) = read(&path)? else { return Ok(false) };

    // Asking the socket first matters: after a reboot the process with that id can be anybody's, and
    // `pg_ctl stop` would signal it.
    if left.answers() {
        let mut stop = user.command(&installation.program("pg_ctl"));
        stop.args(["stop", "-m", "fast", "-w", "-t", "60", "-D"]).arg(&data);
        let stopped = user.run(&mut stop).await;
        // It may have ended by itself in between, which is what we wanted.
        if left.answers() {
            stopped?;
        }
    }

    let deadline = Instant::now() + DEATH_LIMIT;
    while let Some(left) = read(&path)? {
        let Some(process) = left.process else { break };
        if !user.runs(process).await? {
            // PostgreSQL recognises the file as stale by itself.
            break;
        }
        if process == std::process::id() || Instant::now() >= deadline {
            // Somebody else got this process id. PostgreSQL would take it for its predecessor and refuse to
            // start. Should it be one after all, the shared memory it holds still keeps a second one out.
            fs::remove_file(&path).map_err(failure("remove", &path))?;
            break;
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}

fn read(path: &Path) -> Result<Option<PidFile>, LocalPostgresError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(PidFile::parse(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failure("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_names_process_and_socket() {
        let text = "4711\n/data\n1700000000\n5432\n/run/it\n\n  123  456\nready   \n";
        let expected = PidFile { process: Some(4711), socket: Some(PathBuf::from("/run/it/.s.PGSQL.5432")) };
        assert_eq!(PidFile::parse(text), expected);
    }

    #[test]
    fn a_pid_file_that_is_being_written_names_what_it_has() {
        assert_eq!(PidFile::parse(""), PidFile { process: None, socket: None });
        assert_eq!(PidFile::parse("12\n/data\n"), PidFile { process: Some(12), socket: None });
    }
}
