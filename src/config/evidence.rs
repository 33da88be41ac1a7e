//! Settings of the transparency logs.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::problem::SettingProblem;
use super::values::{duration_between, http_url};
use crate::secrets::log_keys::LogKeys;

/// Keys that sign the heads of the transparency logs, and how often they do.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evidence")]
pub struct EvidenceSettings {
    /// Private keys that sign the heads of the transparency logs, separated by commas.
    ///
    /// Only the role sealer reads them. `hooksentry audit keygen` makes one. All keys have the same name and all of them
    /// sign, so a key is replaced by adding the new one and removing the old one when verifiers know the new one. Without
    /// a key the logs grow and are not signed.
    #[arg(long, env = "HOOKSENTRY_EVIDENCE_KEY", value_name = "KEYS", hide_env_values = true)]
    pub evidence_key: Option<LogKeys>,

    /// File with the private keys, instead of HOOKSENTRY_EVIDENCE_KEY: one on each line.
    ///
    /// The sealer reads it before each sealing, so keys are replaced without a restart. If it cannot be read, the logs
    /// grow and are not signed.
    #[arg(long, env = "HOOKSENTRY_EVIDENCE_KEY_FILE", value_name = "FILE")]
    pub evidence_key_file: Option<PathBuf>,

    /// Interval at which the heads of logs that have grown are signed.
    ///
    /// Lower: new facts can be proved earlier, and more checkpoints are stored. Higher: until the next checkpoint, who
    /// controls the database can change new facts unnoticed.
    #[arg(
        long,
        env = "HOOKSENTRY_SEAL_INTERVAL",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(24 * 3_600))
    )]
    pub seal_interval: Duration,

    /// Policy that names the witnesses of the log of the installation, and how many of them must cosign: a file of the form
    /// C2SP tlog-policy.
    ///
    /// Only the role sealer reads it, at its start. Each line `witness <name> <key> <url>` needs the URL: its
    /// `add-checkpoint` is asked to cosign every checkpoint. Only checkpoints with the quorum are shown; with `quorum none`,
    /// all that are signed are. Without a policy no witness is asked.
    #[arg(long, env = "HOOKSENTRY_WITNESS_POLICY", value_name = "FILE")]
    pub witness_policy: Option<PathBuf>,

    /// Time within which a witness, or the time stamping authority, must answer a request.
    ///
    /// Lower: a witness that is slow or far away does not cosign. Higher: while a witness hangs, the next checkpoint is sent
    /// to it later.
    #[arg(
        long,
        env = "HOOKSENTRY_EVIDENCE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(300))
    )]
    pub evidence_timeout: Duration,

    /// URL of a time stamping authority (RFC 3161), to which the hashes of checkpoints are sent.
    ///
    /// Only the role sealer uses it. Its time stamps show when a checkpoint existed, by the clock of a third party.
    #[arg(long, env = "HOOKSENTRY_TSA_URL", value_name = "URL", hide_env_values = true, value_parser = http_url)]
    pub tsa_url: Option<Url>,

    /// Interval at which a checkpoint of the installation's log gets a time stamp, if there is a new one.
    ///
    /// Lower: the authority is asked more often, which it may charge for. Higher: for a new fact it takes longer until a
    /// third party has stated when it existed.
    #[arg(
        long,
        env = "HOOKSENTRY_TSA_INTERVAL",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_secs(7 * 24 * 3_600))
    )]
    pub tsa_interval: Duration,
}

impl EvidenceSettings {
    pub(super) fn check(&self) -> Result<(), SettingProblem> {
        match &self.evidence_key_file {
            Some(file) if self.evidence_key.is_some() => Err(SettingProblem::invalid(
                "HOOKSENTRY_EVIDENCE_KEY_FILE",
                file.display(),
                "must not be set together with HOOKSENTRY_EVIDENCE_KEY",
            )),
            _ => Ok(()),
        }
    }
}
