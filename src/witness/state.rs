//! What a witness remembers: the last tree head of each log that it cosigned, one file for each log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use evidence::checkpoint::{Checkpoint, CheckpointError};
use evidence::note::KeyName;
use evidence::tree::TreeHead;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Reason why the state cannot be read or written.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    #[error("the folder {0} is used by another process")]
    InUse(PathBuf),
    #[error("{path} cannot be read or written")]
    File { path: PathBuf, source: io::Error },
    /// It must not be taken for the state of a log that was never cosigned.
    #[error("{path} does not have the tree head of {origin}")]
    Damaged { path: PathBuf, origin: KeyName, source: Option<CheckpointError> },
}

/// State in a folder, which one process uses at a time.
#[derive(Debug)]
pub(crate) struct WitnessState {
    folder: PathBuf,
    /// Locked as long as the process runs, however it ends.
    _lock: File,
}

impl WitnessState {
    /// Opens a folder, which is created if it does not exist.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::File { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"));
        let lock = lock.map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => StateError::InUse(folder.to_owned()),
            fs::TryLockError::Error(source) => failed(source),
        })?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Returns the last tree head of a log that was cosigned; `None`: none was.
    pub(super) fn latest(&self, origin: &KeyName) -> Result<Option<TreeHead>, StateError> {
        let path = self.path(origin);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::File { path, source }),
        };
        let damaged = |source| StateError::Damaged { path: path.clone(), origin: origin.clone(), source };
        let checkpoint = Checkpoint::parse(&text).map_err(|error| damaged(Some(error)))?;
        if checkpoint.origin == *origin { Ok(Some(checkpoint.tree)) } else { Err(damaged(None)) }
    }

    /// Stores a tree head, so that it survives a crash of the process and of the machine.
    pub(super) fn store(&mut self, origin: &KeyName, tree: TreeHead) -> Result<(), StateError> {
        let path = self.path(origin);
        let text = Checkpoint { origin: origin.clone(), tree }.text();
        let partial = self.folder.join("partial");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| StateError::File { path: path.clone(), source })
    }

    fn path(&self, origin: &KeyName) -> PathBuf {
        // The name of a log is no name of a file.
        self.folder.join(hex::encode(Sha256::digest(origin.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use evidence::tree::Hash;

    use super::*;

    #[test]
    fn the_last_head_of_each_log_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two): (KeyName, KeyName) =
            ("example.com/one".parse().unwrap(), "example.com/two".parse().unwrap());
        let head = |size| TreeHead { size, root: Hash::of_leaf(&[1]) };
        let mut state = WitnessState::open(folder.path()).unwrap();
        assert_eq!(state.latest(&one).unwrap(), None);
        state.store(&one, head(3)).unwrap();
        state.store(&one, head(4)).unwrap();
        state.store(&two, head(9)).unwrap();
        assert!(matches!(WitnessState::open(folder.path()), Err(StateError::InUse(_))));
        drop(state);

        let state = WitnessState::open(folder.path()).unwrap();
        assert_eq!(state.latest(&one).unwrap(), Some(head(4)));
        assert_eq!(state.latest(&two).unwrap(), Some(head(9)));
        // Damaged state is not the state of a new log, for which any history would be cosigned.
        fs::write(state.path(&one), "").unwrap();
        assert!(matches!(state.latest(&one), Err(StateError::Damaged { .. })));
        fs::copy(state.path(&two), state.path(&one)).unwrap();
        assert!(matches!(state.latest(&one), Err(StateError::Damaged { .. })));
    }
}
