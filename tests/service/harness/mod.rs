//! What tests stand on: real servers of their own.
//!
//! `make test` starts one PostgreSQL and one RabbitMQ for the whole run (`.ci/private-services`) and tells
//! the tests by environment variables. Started in any other way, a test process starts what it needs by
//! itself, which is slower but needs nothing prepared.

pub(crate) mod account;
pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod rabbitmq;
pub(crate) mod receiver;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PREFIX: &str = "hooksentry-tests-";

/// How long a test waits for something that takes a moment, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the condition holds, and fails the test when it does not within [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An HTTP client.
pub(crate) fn client() -> reqwest::Client {
    // The tests' own process has no `main` that would do this; only the first one can.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// A folder that is removed with the value. Servers run as other users when the tests run as root, so
/// everybody may enter it.
fn open_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder")
}

/// HTTP clients of tests need it although they speak plain HTTP; the program installs its own.
pub(crate) fn install_tls() {
    // Whoever comes second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The folder of the servers that this process shares between its tests. Nothing runs after the last test,
/// so it stays until another process finds that we are gone.
fn process_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            remove_abandoned_folders();
            let folder = std::env::temp_dir().join(format!("{PREFIX}of-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a temporary folder");
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("our own folder");
            folder
        })
        .clone()
}

fn remove_abandoned_folders() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_prefix("of-"));
        let Some(owner) = owner else { continue };
        let alive = Command::new("kill").args(["-0", owner]).stderr(Stdio::null()).status();
        if alive.is_ok_and(|status| !status.success()) {
            // Another process may be at it too, and it may belong to somebody else: next time, then.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A name that no other test uses, in this process or another.
fn unique_name(kind: &str) -> String {
    format!("{kind}_{:016x}", rand::random::<u64>())
}
