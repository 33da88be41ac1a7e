use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::installation::OLDEST_MAJOR;

/// Why there is no private PostgreSQL.
///
/// Each message is one sentence that a person at a terminal can act upon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalPostgresError {
    /// No folder holds `initdb`, `postgres` and `pg_ctl`.
    #[error(
        "PostgreSQL is not installed: install it (Debian and Ubuntu: apt-get install postgresql, \
         Fedora: dnf install postgresql-server, macOS: brew install postgresql) or set DATABASE_URL"
    )]
    NotInstalled,

    /// There are programs, but older ones than the event log needs.
    #[error(
        "the newest PostgreSQL found here is version {found}, and HookSentry needs version {OLDEST_MAJOR} or \
         newer: install one or set DATABASE_URL"
    )]
    TooOld {
        /// The newest version found.
        found: u32,
    },

    /// The data was written by a version that is not installed any more.
    #[error(
        "the data in {} was written by PostgreSQL {needed}, which is not installed: install that version or \
         choose another data folder", .folder.display()
    )]
    OtherVersion {
        /// The folder that was asked for.
        folder: PathBuf,
        /// The version that can read it.
        needed: u32,
    },

    /// Another process holds the folder.
    #[error(
        "another hooksentry (process {owner}) is using {}: stop it or choose another data folder",
        .folder.display()
    )]
    InUse {
        /// The folder both of them want.
        folder: PathBuf,
        /// The process id of the one that has it, as far as it is known.
        owner: String,
    },

    /// PostgreSQL refuses to run as root, and there is nobody else to run it.
    #[error(
        "PostgreSQL does not run as root and this machine has neither a user `postgres` nor `nobody`: run \
         hooksentry as another user"
    )]
    NoUnprivilegedUser,

    /// The unprivileged user can reach none of the places where data could lie.
    #[error("the user {user} can enter none of {places}: choose a data folder which that user can enter")]
    Unreachable {
        /// Who would run the server.
        user: String,
        /// The folders that were tried.
        places: String,
    },

    /// A folder that should be private to us is in the hands of somebody else.
    #[error("{} belongs to another user: remove it or choose another data folder", .folder.display())]
    Foreign {
        /// The folder in question.
        folder: PathBuf,
    },

    /// A file operation went wrong.
    #[error("could not {action} {}", .path.display())]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A program could not be run at all.
    #[error("could not run {}", .program.display())]
    NotRun {
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A program ran and reported failure.
    #[error("{} failed: {output}", .program.display())]
    ProgramFailed { program: PathBuf, output: String },

    /// The server ended although nobody stopped it.
    #[error("PostgreSQL ended by itself ({status}); its log {} ends with: {log_end}", .log.display())]
    Ended {
        status: ExitStatus,
        /// Where its log lies.
        log: PathBuf,
        /// The last lines of that log.
        log_end: String,
    },

    /// The server runs but does not answer.
    #[error("PostgreSQL did not answer in time; its log is {}", .log.display())]
    NotReady {
        /// Where its log lies.
        log: PathBuf,
        source: sqlx::Error,
    },

    /// The server answers, but our database could not be made.
    #[error("could not create the database in the private PostgreSQL")]
    NoDatabase {
        /// What the server said.
        source: sqlx::Error,
    },
}
