//! Where the data lies, and the lock that gives it one owner.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::LocalPostgresError;
use super::server_user::ServerUser;

/// Where root's data goes when the unprivileged user cannot enter the folder that was asked for.
const SYSTEM_STATE: &str = "/var/lib/hooksentry";

/// The name of the socket within its folder is fixed by PostgreSQL: the prefix and the port.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The address of a Unix socket has 108 bytes on Linux and 104 on macOS, the closing zero included.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The folder of one private PostgreSQL. It holds the lock, the log and, in folders of the server's user,
/// the data and the socket.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Open, and therefore locked, for as long as this value lives. The operating system lets go of it when
    /// the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Finds a place that the server's user can reach and locks it.
    pub(super) async fn occupy(
        requested: &Path,
        user: &ServerUser,
    ) -> Result<(Self, ServerUser), LocalPostgresError> {
        let mut tried = Vec::new();
        for place in places(requested, user)? {
            let made = !place.exists();
            create(&place)?;
            // Others may write to the temporary folder, so what already bears our name there need not be ours.
            if place.as_path() != requested && !belongs_to(&place, 0) {
                return Err(LocalPostgresError::Foreign { folder: place });
            }
            let root = fs::canonicalize(&place).map_err(failure("find", &place))?;
            let user = user.or_owner_of(&root.join("data"));
            if user.can_enter(&root).await? {
                let lock = lock(&root)?;
                return Ok((Self { root, _lock: lock }, user));
            }
            if made {
                // Nothing of ours stays behind in a place that is of no use; one that cannot go does no harm.
                let _ = fs::remove_dir(&place);
            }
            tried.push(place.display().to_string());
        }
        Err(LocalPostgresError::Unreachable { user: user.name(), places: tried.join(", ") })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where `initdb` works. Only a finished one is renamed to [`Self::data`], so that data is always whole.
    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.root.join("data.unfinished")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Makes the folder of the socket: beside the data, or under the temporary folder if that path would be
    /// too long for a socket address.
    pub(super) fn prepare_socket_folder(&self, user: &ServerUser) -> Result<PathBuf, LocalPostgresError> {
        let beside = self.root.join("socket");
        let folder = if beside.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            beside
        } else {
            short_folder(&self.root)
        };
        if folder.exists() && !belongs_to(&folder, user.uid()) {
            return Err(LocalPostgresError::Foreign { folder });
        }
        user.own(&folder).map_err(failure("make", &folder))?;
        Ok(folder)
    }

    /// Writes the names of the files within to the disk: without that, a power failure could undo a rename
    /// whose data has long been trusted.
    pub(super) fn sync(&self) -> Result<(), LocalPostgresError> {
        for folder in self.root.ancestors().take(2) {
            File::open(folder).and_then(|opened| opened.sync_all()).map_err(failure("sync", folder))?;
        }
        Ok(())
    }
}

/// The folders to try, best first.
fn places(requested: &Path, user: &ServerUser) -> Result<Vec<PathBuf>, LocalPostgresError> {
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

/// A link belongs to nobody, as its owner says nothing about where it leads.
fn belongs_to(folder: &Path, uid: u32) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == uid)
}

fn create(place: &Path) -> Result<(), LocalPostgresError> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(place).map_err(failure("make", place))
}

fn lock(root: &Path) -> Result<File, LocalPostgresError> {
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
            note_owner(&mut file).map_err(failure("write", &path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            Err(LocalPostgresError::InUse { folder: root.to_owned(), owner: owner.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(LocalPostgresError::File { action: "lock", path, source }),
    }
}

/// The number is for the message to the second owner only; what counts is the lock.
fn note_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

pub(super) fn failure(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> LocalPostgresError + use<> {
    let path = path.to_owned();
    move |source| LocalPostgresError::File { action, path, source }
}
