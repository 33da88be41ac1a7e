//! Fixtures of the service tests: private servers, clients and test data.
//!
//! `make test` starts one PostgreSQL and one RabbitMQ for the whole run (`private_servers`) and passes their URLs
//! to the tests in environment variables. Without these variables, a test process starts its own servers, which
//! is slower but needs no preparation.

pub(crate) mod api;
pub(crate) mod authenticator;
pub(crate) mod events;
pub(crate) mod log_fixture;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod rabbitmq;
pub(crate) mod receiver;
pub(crate) mod tenant;
pub(crate) mod witness;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use private_servers::TemporaryFolder;

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

/// A temporary folder that is removed with the value.
fn temporary_folder() -> TemporaryFolder {
    TemporaryFolder::create().expect("a temporary folder")
}

/// Installs a TLS provider, which HTTP clients need even for plain HTTP. The program installs its own.
pub(crate) fn install_tls() {
    // It fails when there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The folder of the servers that the tests of this process share. No code runs after the last test, so a later
/// process removes it.
fn process_folder() -> &'static Path {
    static FOLDER: LazyLock<TemporaryFolder> = LazyLock::new(temporary_folder);
    FOLDER.path()
}

/// Returns a name that no other test uses, in this process or another.
fn unique_name(kind: &str) -> String {
    format!("{kind}_{:016x}", rand::random::<u64>())
}
