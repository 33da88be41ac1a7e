//! A server process that ends with this process.
//!
//! The server is a child of a small shell, `guard.sh`, which reads a pipe whose other end only this process
//! holds. However this process ends, the operating system closes that end, and the guard stops the server. (A
//! death signal from the kernel would be bound to one *thread* and exists on Linux only.)

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{ServerError, failure};
use crate::server_user::ServerUser;

/// Time between two checks of a condition that a server cannot announce.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A stop writes everything that is still in memory; after this time the disk is not slow but broken.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Time within which a process that was sent SIGKILL disappears.
const KILL_LIMIT: Duration = Duration::from_secs(5);

const LOG_END_LINES: usize = 8;

const GUARD: &str = include_str!("guard.sh");
const SHELL: &str = "/bin/sh";

/// A running server and its guard. Dropping it stops the server, but does not wait for it.
#[derive(Debug)]
pub struct GuardedProcess {
    guard: Child,
    lifeline: OwnedFd,
    process_id: u32,
    log: PathBuf,
}

impl GuardedProcess {
    /// Returns a command that runs `program` under a guard, as `user`. `stop_signal` is the name of the
    /// signal that stops it, such as `TERM`.
    pub(crate) fn command(user: &ServerUser, stop_signal: &str, program: &Path) -> Command {
        let mut command = user.command(Path::new(SHELL));
        command.args(["-c", GUARD, "guard", stop_signal]).arg(program);
        command
    }

    /// Returns such a command for the current user, with no environment but a `PATH`.
    #[must_use]
    pub fn command_of_current_user(stop_signal: &str, program: &Path) -> Command {
        Self::command(&ServerUser::Current { uid: 0 }, stop_signal, program)
    }

    /// Starts such a command, which writes its output to the file `log`.
    ///
    /// # Errors
    /// The log cannot be written, or the command cannot be started.
    pub async fn spawn(mut command: Command, log: PathBuf) -> Result<Self, ServerError> {
        let not_run = |source| ServerError::NotRun { program: SHELL.into(), source };
        let log_file = open_log(&log).map_err(failure("open", &log))?;
        command
            // Ctrl-C signals the whole foreground process group, and a server has to outlive its users.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file);
        let mut guard = command.spawn().map_err(not_run)?;
        let (Some(lifeline), Some(output)) = (guard.stdin.take(), guard.stdout.take()) else {
            return Err(not_run(io::ErrorKind::BrokenPipe.into()));
        };
        let lifeline = lifeline.into_owned_fd().map_err(not_run)?;
        let mut process_id = String::new();
        BufReader::new(output).read_line(&mut process_id).await.map_err(not_run)?;
        let process_id =
            process_id.trim().parse().map_err(|_| not_run(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(Self { guard, lifeline, process_id, log })
    }

    /// The id of the server's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Waits until `is_ready` returns true.
    ///
    /// # Errors
    /// The server ended, or was not ready at `deadline`.
    pub(crate) async fn wait_until(
        &mut self,
        deadline: Instant,
        mut is_ready: impl AsyncFnMut() -> bool,
    ) -> Result<(), ServerError> {
        while !is_ready().await {
            if let Some(status) = self.guard.try_wait().map_err(failure("watch", &self.log))? {
                return Err(self.ended(status));
            }
            if Instant::now() >= deadline {
                return Err(ServerError::NotReady { log: self.log.clone(), log_end: end_of(&self.log) });
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Resolves when the server ends without having been stopped.
    pub async fn unexpected_end(&mut self) -> ServerError {
        match self.guard.wait().await {
            Ok(status) => self.ended(status),
            Err(source) => failure("watch", &self.log)(source),
        }
    }

    /// Stops the server and waits until it has written everything.
    ///
    /// # Errors
    /// The server did not end within a minute, or its exit status is a failure.
    pub(crate) async fn stop(self) -> Result<(), ServerError> {
        let Self { mut guard, lifeline, log, .. } = self;
        drop(lifeline);
        let status = timeout(STOP_LIMIT, guard.wait())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(failure("stop the server of", &log))?;
        if status.success() {
            return Ok(());
        }
        Err(ServerError::Ended { status, log_end: end_of(&log), log })
    }

    /// Kills the server with SIGKILL and blocks until it is gone.
    pub fn kill(mut self) {
        let deadline = std::time::Instant::now() + KILL_LIMIT;
        while let Ok(None) = self.guard.try_wait()
            && std::time::Instant::now() < deadline
        {
            self.signal("KILL");
        }
    }

    /// Returns whether the server has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// Sends the server a signal, by its name. A server that has ended by itself needs none.
    pub fn signal(&self, name: &str) {
        let _ = std::process::Command::new("kill")
            .args([format!("-{name}"), self.process_id.to_string()])
            .stderr(Stdio::null())
            .status();
    }

    fn ended(&self, status: ExitStatus) -> ServerError {
        ServerError::Ended { status, log: self.log.clone(), log_end: end_of(&self.log) }
    }
}

/// Truncates the log at each start, so that it cannot grow without limit. Only its owner may read it, because
/// PostgreSQL writes failed statements to it.
fn open_log(log: &Path) -> io::Result<File> {
    File::options().create(true).write(true).truncate(true).mode(0o600).open(log)
}

fn end_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_END_LINES)..].join(" / ")
}
