//! `hooksentry witness`: cosigns the checkpoints of logs that only grow.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use evidence::note::{CosignerKey, KeyType, VerifierKey};
use secrecy::{ExposeSecret, SecretString};

use crate::config::LogSettings;
use crate::http_server::{self, ConnectionLimits};
use crate::lifecycle::Lifecycle;
use crate::telemetry::Telemetry;
use crate::witness::{Witness, WitnessState};

/// Time in which requests in progress must end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Maximum number of connections, and of those of one peer.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_PEER_MAX: usize = 32;

/// Cosign the checkpoints of transparency logs that only grow: C2SP tlog-witness v1.0.0.
///
/// Run it on a machine that the operator of the logs does not control. It remembers the last checkpoint of each log, and
/// cosigns the next one only if it continues that one. So all who require its cosignature are shown the same history. It needs no database. `POST /add-checkpoint` is its API; put a proxy for TLS in front of it.
#[derive(Debug, clap::Args)]
pub struct Witnessing {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5243")]
    pub listen: SocketAddr,

    /// File with the private key of the witness. `hooksentry audit keygen --witness` makes one.
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,

    /// Public key of a log to cosign. Its name is that of the log. Repeat it for other logs, and for other keys of a log.
    #[arg(long = "log-key", value_name = "VKEY", required = true)]
    pub log_keys: Vec<VerifierKey>,

    /// Folder in which the last checkpoint of each log is kept.
    ///
    /// Without it the witness cannot tell whether a log has shown another history before: if it is lost, use a new key.
    #[arg(long, value_name = "FOLDER")]
    pub state: PathBuf,

    #[command(flatten)]
    pub log: LogSettings,
}

impl Witnessing {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        Telemetry::start(&self.log)?;
        if self.log_keys.iter().any(|key| key.key_type() != KeyType::Note) {
            bail!("--log-key must be the key of a log (type 0x01), not that of a witness");
        }
        let key = self.read_key()?;
        let state = WitnessState::open(&self.state)?;
        let listener = http_server::bind(self.listen, "--listen").await?;
        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.handle_signals()?;
        writeln!(io::stdout(), "{} at http://{}", key.verifier(), listener.local_addr()?)?;
        let router = Witness::new(key, self.log_keys, state).router();
        let limits = ConnectionLimits {
            connections_max: CONNECTIONS_MAX,
            connections_per_peer_max: CONNECTIONS_PER_PEER_MAX,
            unlimited_peers: vec![],
        };
        let stop = lifecycle.intake();
        lifecycle.spawn("the witness", async move {
            http_server::serve(listener, router, limits, stop).await;
            Ok(())
        });
        Ok(lifecycle.finish().await?)
    }

    fn read_key(&self) -> anyhow::Result<CosignerKey> {
        let read = fs::read_to_string(&self.key_file).map(SecretString::from);
        let text = read.with_context(|| format!("{} cannot be read", self.key_file.display()))?;
        CosignerKey::parse(text.expose_secret().trim())
            .with_context(|| format!("{} has no key of a witness", self.key_file.display()))
    }
}
