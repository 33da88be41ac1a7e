//! The data folder and the lock that gives it one owner.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{ServerError, failure};
use crate::server_user::ServerUser;

/// Parent of root's data folders if the unprivileged user cannot enter the requested one.
const SYSTEM_STATE: &str = "/var/lib/hooksentry";

/// Name of the socket within its folder. PostgreSQL makes it from a fixed prefix and the port.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The address of a Unix socket has 108 bytes on Linux and 104 on macOS, including the terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Folder of one private PostgreSQL. It contains the lock, the log and, in folders of the server's user, the
/// data and the socket.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Open, and therefore locked, for as long as this value lives. The operating system releases the lock
    /// when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Finds a folder that the server's user can enter, creates it if necessary, and locks it. Returns it
    /// with the user who owns the data.
    pub(super) async fn occupy(
        requested: &Path,
        user: &ServerUser,
    ) -> Result<(Self, ServerUser), ServerError> {
        let mut tried = Vec::new();
        for place in places(requested, user)? {
            let is_new = !place.exists();
            create(&place)?;
            // Other users may write to the temporary folder, so a folder with our name there need not be
            // ours.
            if place.as_path() != requested && !belongs_to(&place, 0) {
                return Err(ServerError::ForeignFolder { folder: place });
            }
            let root = fs::canonicalize(&place).map_err(failure("find", &place))?;
            let user = user.or_owner_of(&root.join("data"));
            if user.can_enter(&root).await? {
                let lock = lock(&root)?;
                return Ok((Self { root, _lock: lock }, user));
            }
            if is_new {
                // A folder of no use is removed again; one that cannot be removed does no harm.
                let _ = fs::remove_dir(&place);
            }
            tried.push(place.display().to_string());
        }
        Err(ServerError::Unreachable { user: user.name(), places: tried.join(", ") })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Folder in which `initdb` works. It is renamed to [`Self::data`] when it is complete.
    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.root.join("data.unfinished")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Creates the folder of the socket: next to the data, or in the temporary folder if that path would be
    /// too long for a socket address.
    pub(super) fn prepare_socket_folder(&self, user: &ServerUser) -> Result<PathBuf, ServerError> {
        let next_to_data = self.root.join("socket");
        let folder = if next_to_data.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            next_to_data
        } else {
            short_folder(&self.root)
        };
        if folder.exists() && !belongs_to(&folder, user.uid()) {
            return Err(ServerError::ForeignFolder { folder });
        }
        user.own_folder(&folder).map_err(failure("create", &folder))?;
        Ok(folder)
    }

    /// Flushes the folder's entries to the disk: otherwise a power failure could undo a rename on which later
    /// commits rely.
    pub(super) fn sync(&self) -> Result<(), ServerError> {
        for folder in self.root.ancestors().take(2) {
            File::open(folder).and_then(|opened| opened.sync_all()).map_err(failure("sync", folder))?;
        }
        Ok(())
    }
}

/// Returns the folders to try, best first.
fn places(requested: &Path, user: &ServerUser) -> Result<Vec<PathBuf>, ServerError> {
    let mut places = vec![requested.to_owned()];
    if matches!(user, ServerUser::Other { .. }) {
        let absolute = std::path::absolute(requested).map_err(failure("find", requested))?;
        places.push(Path::new(SYSTEM_STATE).join(fingerprint(&absolute)));
        places.push(short_folder(&absolute.join("data")));
    }
    Ok(places)
}

fn short_folder(long: &Path) -> PathBuf {
    std::env::temp_dir().join(format!("hooksentry-{}", fingerprint(long)))
}

fn fingerprint(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    hex::encode(&digest[..8])
}

/// Whether `folder` is a folder of that user. A symbolic link is not: its owner says nothing about its
/// target.
fn belongs_to(folder: &Path, uid: u32) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == uid)
}

fn create(place: &Path) -> Result<(), ServerError> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(place).map_err(failure("create", place))
}

fn lock(root: &Path) -> Result<File, ServerError> {
    let path = root.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failure("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            write_owner(&mut file).map_err(failure("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            Err(ServerError::InUse { folder: root.to_owned(), owner: owner.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(ServerError::File { action: "lock", path, source }),
    }
}

/// Writes the process id, which is only for the error message of a second owner.
fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
