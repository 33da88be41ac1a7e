//! Temporary folders that a later process removes if theirs was killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "hooksentry-servers-";
/// A server in this folder may have a lock of its own, with the name `lock`.
const LOCK: &str = ".owner-lock";

/// Temporary folder for disposable servers, which is removed with the value.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Open, and therefore locked, for as long as this value lives.
    _lock: File,
}

impl TemporaryFolder {
    /// Creates a folder in `TMPDIR`, and removes those of processes that were killed.
    ///
    /// # Errors
    /// The folder or its lock file cannot be created.
    pub fn create() -> io::Result<Self> {
        remove_abandoned();
        // Servers run as other users if this process is root, and have to enter the folder.
        let permissions = Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(permissions).tempdir()?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.try_lock()?;
        Ok(Self { folder, _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders whose lock can be taken: a lock ends with the process that holds it. A folder that cannot
/// be removed, such as one of another user, is left alone.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_whose_owner_has_ended_is_removed() {
        let abandoned = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap().keep();
        File::create(abandoned.join(LOCK)).unwrap();
        let held = TemporaryFolder::create().unwrap();
        let other = TemporaryFolder::create().unwrap();
        assert!(!abandoned.exists() && held.path().exists());

        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
