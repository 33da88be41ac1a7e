//! The RabbitMQ and Erlang programs on this machine.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::ServerError;

/// Folders of RabbitMQ's programs. Debian's commands in the `PATH` are wrappers that touch the folders of the
/// system's node, so they are not used.
const RABBITMQ: [&str; 3] =
    ["/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"];

const ERLANG: &str = "/usr/lib/erlang";

/// The installed programs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    rabbitmq: PathBuf,
    epmd: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self, ServerError> {
        let folders = RABBITMQ.iter().map(PathBuf::from).chain(path_folders());
        let rabbitmq = folders
            .into_iter()
            .find(|folder| folder.join("rabbitmq-server").is_file())
            .ok_or(ServerError::RabbitMqNotInstalled)?;
        let epmd = path_folders()
            .chain(erlang_folders())
            .map(|folder| folder.join("epmd"))
            .find(|program| program.is_file())
            .ok_or(ServerError::RabbitMqNotInstalled)?;
        Ok(Self { rabbitmq, epmd })
    }

    pub(super) fn rabbitmq(&self, name: &str) -> PathBuf {
        self.rabbitmq.join(name)
    }

    pub(super) fn epmd(&self) -> &Path {
        &self.epmd
    }
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// The folder of each installed version of the Erlang runtime.
fn erlang_folders() -> impl Iterator<Item = PathBuf> {
    let versions = std::fs::read_dir(ERLANG).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).chain([Path::new(ERLANG).join("bin")])
}
