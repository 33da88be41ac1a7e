//! Servers, clients and receivers of the tests.
//!
//! `make test` starts one PostgreSQL and one RabbitMQ for the whole run (`.ci/private-services`) and passes
//! their URLs in environment variables. Without them a test process starts the servers that it needs, which
//! is slower but needs no preparation.

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod log_fixture;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod rabbitmq;
pub(crate) mod receiver;
pub(crate) mod tenant;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PREFIX: &str = "hooksentry-tests-";

/// Timeout of every wait in a test, long enough for a machine that is busy with other tests.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits until the condition holds; panics when it does not within [`WAIT_TIMEOUT`].
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns an HTTP client without a timeout.
pub(crate) fn client() -> reqwest::Client {
    hooksentry_client::http_client().build().expect("a client")
}

/// Creates a folder that is removed when the value is dropped. Any user may enter it, because servers run as
/// other users when the tests run as root.
fn open_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder")
}

/// Installs a TLS provider, which HTTP clients need even for plain HTTP. The program installs its own.
pub(crate) fn install_tls() {
    // It fails when there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns the folder of the servers that the tests of this process share. No code runs after the last test,
/// so a later process removes it.
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
            // Another process may be removing it, or it may belong to another user; a later process tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns a name that no other test uses, in this process or another.
fn unique_name(kind: &str) -> String {
    format!("{kind}_{:016x}", rand::random::<u64>())
}
