//! Who runs PostgreSQL. It refuses to run as root, so a root process has to find somebody else.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::error::LocalPostgresError;

const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user under whom all programs of PostgreSQL run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerUser {
    /// The one who runs this process.
    Ourselves {
        uid: u32,
    },
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl ServerUser {
    pub(super) async fn choose() -> Result<Self, LocalPostgresError> {
        let uid = id(&["-u"]).await?.ok_or_else(|| LocalPostgresError::ProgramFailed {
            program: "id".into(),
            output: "it did not answer with a number".to_owned(),
        })?;
        if uid != 0 {
            return Ok(Self::Ourselves { uid });
        }
        for name in UNPRIVILEGED {
            if let (Some(uid), Some(gid)) = (id(&["-u", name]).await?, id(&["-g", name]).await?) {
                return Ok(Self::Other { name: name.to_owned(), uid, gid });
            }
        }
        Err(LocalPostgresError::NoUnprivilegedUser)
    }

    /// Data that somebody made before root came along stays theirs, and they run its server.
    pub(super) fn or_owner_of(&self, data: &Path) -> Self {
        match (self, fs::metadata(data)) {
            (Self::Other { .. }, Ok(metadata)) if metadata.uid() != 0 => Self::Other {
                name: format!("with id {}", metadata.uid()),
                uid: metadata.uid(),
                gid: metadata.gid(),
            },
            _ => self.clone(),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves { uid } | Self::Other { uid, .. } => *uid,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Ourselves { uid } => format!("with id {uid}"),
            Self::Other { name, .. } => name.clone(),
        }
    }

    /// A command that will run as this user, somewhere it can be, without our environment: a stray
    /// `PGPORT` or `PGOPTIONS` must not reach the server.
    pub(super) fn command(&self, program: &Path) -> Command {
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

    /// Runs a program to its end.
    pub(super) async fn run(&self, command: &mut Command) -> Result<(), LocalPostgresError> {
        let program = Path::new(command.as_std().get_program()).to_owned();
        let output = command
            .output()
            .await
            .map_err(|source| LocalPostgresError::NotRun { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
        Err(LocalPostgresError::ProgramFailed { program, output })
    }

    pub(super) async fn can_enter(&self, folder: &Path) -> Result<bool, LocalPostgresError> {
        self.shell_agrees("cd \"$1\"", folder.as_os_str()).await
    }

    /// Whether a process of this user has that id.
    pub(super) async fn runs(&self, process: u32) -> Result<bool, LocalPostgresError> {
        self.shell_agrees("kill -0 \"$1\"", process.to_string().as_ref()).await
    }

    async fn shell_agrees(&self, script: &str, argument: &OsStr) -> Result<bool, LocalPostgresError> {
        let shell = Path::new("/bin/sh");
        let status = self
            .command(shell)
            .args(["-c", script, "sh"])
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .map_err(|source| LocalPostgresError::NotRun { program: shell.to_owned(), source })?;
        Ok(status.success())
    }

    /// Makes a folder that only this user can enter, or takes possession of the one that is there.
    pub(super) fn own(&self, folder: &Path) -> io::Result<()> {
        if !folder.is_dir() {
            fs::create_dir(folder)?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        if let Self::Other { uid, gid, .. } = self {
            std::os::unix::fs::chown(folder, Some(*uid), Some(*gid))?;
        }
        Ok(())
    }
}

/// Asks `id`, which knows users from directories as well as those in `/etc/passwd`.
async fn id(arguments: &[&str]) -> Result<Option<u32>, LocalPostgresError> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .await
        .map_err(|source| LocalPostgresError::NotRun { program: "id".into(), source })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}
