//! Data folder of `dev`, with the generated keys and the database.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::secrets::log_keys::LogKeys;

const KEY_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Opens the folder, and creates it if it does not exist.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        // Other users may enter: for root, the database runs as another user, and its folder is in this one.
        // The keys and the database are not readable by others.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("the data folder {} cannot be created", path.display()))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the key from the file `name`, and generates one of random bytes if the file does not exist.
    pub(super) fn key<K: FromStr<Err: Error + Send + Sync + 'static>>(
        &self,
        name: &str,
    ) -> anyhow::Result<K> {
        self.key_or(name, || Ok(STANDARD.encode(rand::random::<[u8; KEY_BYTES]>()).into()))
    }

    /// Reads the key of the transparency logs from the file `name`, and generates one if the file does not exist. Its
    /// name is unique, so that no two installations have logs with one name.
    pub(super) fn log_keys(&self, name: &str) -> anyhow::Result<LogKeys> {
        self.key_or(name, || {
            let installation = format!("dev.hooksentry.localhost/{:016x}", rand::random::<u64>());
            let keys = LogKeys::generate(installation.parse()?)?;
            keys.to_secret_texts().next().context("there is one key")
        })
    }

    fn key_or<K: FromStr<Err: Error + Send + Sync + 'static>>(
        &self,
        name: &str,
        generate: impl FnOnce() -> anyhow::Result<SecretString>,
    ) -> anyhow::Result<K> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_key(&self.path, name, &generate()?)
                    .with_context(|| format!("the key {} cannot be written", path.display()))?
            }
            Err(error) => {
                return Err(error).with_context(|| format!("the key {} cannot be read", path.display()));
            }
        };
        text.trim().parse().with_context(|| format!("{} does not contain a key", path.display()))
    }
}

/// Writes a new key completely or not at all: half a key would make the encrypted secrets unreadable.
fn write_key(folder: &Path, name: &str, key: &SecretString) -> io::Result<String> {
    let text = key.expose_secret().to_owned();
    let unfinished = folder.join(format!("{name}.unfinished"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::secrets::master_keys::MasterKeys;

    #[test]
    fn a_key_is_generated_once_and_only_its_owner_can_read_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let first: MasterKeys = DataFolder::open(path.clone()).unwrap().key("encryption-key").unwrap();
        let second: MasterKeys = DataFolder::open(path.clone()).unwrap().key("encryption-key").unwrap();
        assert_eq!(first.first(), second.first());
        let mode = fs::metadata(path.join("encryption-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other: MasterKeys = DataFolder::open(path).unwrap().key("another").unwrap();
        assert_ne!(first.first(), other.first());
    }

    #[test]
    fn a_file_without_a_valid_key_is_named_in_the_error_and_not_changed() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("encryption-key");
        fs::write(&file, "not a key").unwrap();
        let folder = DataFolder::open(temporary.path().to_owned()).unwrap();
        let problem = folder.key::<MasterKeys>("encryption-key").unwrap_err();
        assert!(problem.to_string().contains("encryption-key does not contain a key"), "{problem}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "not a key");
    }
}
