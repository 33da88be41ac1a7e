use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Reason why a private server cannot be started or has ended.
///
/// Each message is one sentence that a person at a terminal can act upon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error(
        "PostgreSQL is not installed: install it (Debian and Ubuntu: apt-get install postgresql, \
         Fedora: dnf install postgresql-server, macOS: brew install postgresql) or set DATABASE_URL"
    )]
    PostgresNotInstalled,

    #[error("RabbitMQ is not installed: run `make setup` or install the package rabbitmq-server")]
    RabbitMqNotInstalled,

    #[error(
        "the newest PostgreSQL on this machine is version {found}, and HookSentry needs version {oldest} or \
         newer: install one or set DATABASE_URL"
    )]
    TooOld { found: u32, oldest: u32 },

    /// The data was written by a major version that is not installed.
    #[error(
        "the data in {} was written by PostgreSQL {needed}, which is not installed: install that version or \
         choose another data folder", .folder.display()
    )]
    OtherVersion { folder: PathBuf, needed: u32 },

    /// Another process holds the lock of the folder; `owner` is its process id.
    #[error(
        "another hooksentry (process {owner}) is using {}: stop it or choose another data folder",
        .folder.display()
    )]
    InUse { folder: PathBuf, owner: String },

    /// This process is root, the server refuses to run as root, and no candidate exists.
    #[error(
        "the server must not run as root and this machine has no user named {candidates}: run this program as \
         another user"
    )]
    NoUnprivilegedUser { candidates: String },

    #[error("the user {user} can enter none of {places}: choose a data folder which that user can enter")]
    Unreachable { user: String, places: String },

    #[error("{} belongs to another user: remove it or choose another data folder", .folder.display())]
    ForeignFolder { folder: PathBuf },

    /// A file operation failed; `action` is a verb.
    #[error("could not {action} {}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error("could not run {}", .program.display())]
    NotRun { program: PathBuf, source: io::Error },

    #[error("{} failed: {output}", .program.display())]
    ProgramFailed { program: PathBuf, output: String },

    /// The server ended without having been stopped.
    #[error("the server ended unexpectedly ({status}); its log {} ends with: {log_end}", .log.display())]
    Ended { status: ExitStatus, log: PathBuf, log_end: String },

    #[error("the server was not ready in time; its log {} ends with: {log_end}", .log.display())]
    NotReady { log: PathBuf, log_end: String },
}

pub(crate) fn failure(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServerError + use<> {
    let path = path.to_owned();
    move |source| ServerError::File { action, path, source }
}
