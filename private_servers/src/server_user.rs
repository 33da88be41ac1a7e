//! The operating system user under which servers run: they refuse to run as root.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::error::ServerError;

const UNPRIVILEGED: &str = "nobody"; // words: keep

/// User under whom all programs of a server run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerUser {
    /// The user of this process.
    Current {
        uid: u32,
    },
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl ServerUser {
    /// Returns the current user or, if that is root, the user `preferred` or else the unprivileged one.
    ///
    /// # Errors
    /// Neither user exists.
    pub(crate) async fn choose(preferred: &str) -> Result<Self, ServerError> {
        let uid = id(&["-u"]).await?.ok_or_else(|| ServerError::ProgramFailed {
            program: "id".into(),
            output: "its output is not a number".to_owned(),
        })?;
        if uid != 0 {
            return Ok(Self::Current { uid });
        }
        for name in [preferred, UNPRIVILEGED] {
            if let (Some(uid), Some(gid)) = (id(&["-u", name]).await?, id(&["-g", name]).await?) {
                return Ok(Self::Other { name: name.to_owned(), uid, gid });
            }
        }
        Err(ServerError::NoUnprivilegedUser { candidates: format!("{preferred} or {UNPRIVILEGED}") })
    }

    /// Returns the owner of existing `data` if this process is root and the owner is not: data that a user
    /// created before root started a server on it stays theirs.
    pub(crate) fn or_owner_of(&self, data: &Path) -> Self {
        match (self, fs::metadata(data)) {
            (Self::Other { .. }, Ok(metadata)) if metadata.uid() != 0 => Self::Other {
                name: format!("with id {}", metadata.uid()),
                uid: metadata.uid(),
                gid: metadata.gid(),
            },
            _ => self.clone(),
        }
    }

    pub(crate) fn uid(&self) -> u32 {
        match self {
            Self::Current { uid } | Self::Other { uid, .. } => *uid,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Current { uid } => format!("with id {uid}"),
            Self::Other { name, .. } => name.clone(),
        }
    }

    /// Returns a command that runs as this user, in a folder which that user can enter, without the
    /// environment of this process: a stray `PGPORT` or `PGOPTIONS` must not reach the server.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Runs a program to its end and returns its standard output.
    ///
    /// # Errors
    /// The program cannot be started, or its exit status is a failure.
    pub(crate) async fn run(&self, command: &mut Command) -> Result<String, ServerError> {
        let program = Path::new(command.as_std().get_program()).to_owned();
        let output = command
            .output()
            .await
            .map_err(|source| ServerError::NotRun { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
        Err(ServerError::ProgramFailed { program, output })
    }

    pub(crate) async fn can_enter(&self, folder: &Path) -> Result<bool, ServerError> {
        self.shell_succeeds("cd \"$1\"", folder.as_os_str()).await
    }

    /// Whether a process of this user has that id.
    pub(crate) async fn runs(&self, process: u32) -> Result<bool, ServerError> {
        self.shell_succeeds("kill -0 \"$1\"", process.to_string().as_ref()).await
    }

    async fn shell_succeeds(&self, script: &str, argument: &OsStr) -> Result<bool, ServerError> {
        let shell = Path::new("/bin/sh");
        let status = self
            .command(shell)
            .args(["-c", script, "sh"])
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .map_err(|source| ServerError::NotRun { program: shell.to_owned(), source })?;
        Ok(status.success())
    }

    /// Creates a folder that only this user can enter, or takes ownership of the existing one.
    pub(crate) fn own_folder(&self, folder: &Path) -> io::Result<()> {
        if !folder.is_dir() {
            fs::create_dir(folder)?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        self.own(folder)
    }

    /// Writes a file that only this user can read.
    pub(crate) fn write_file(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        self.own(path)
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Current { .. } => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }
}

/// Runs `id`, which knows users from directories as well as those in `/etc/passwd`.
async fn id(arguments: &[&str]) -> Result<Option<u32>, ServerError> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .await
        .map_err(|source| ServerError::NotRun { program: "id".into(), source })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}
