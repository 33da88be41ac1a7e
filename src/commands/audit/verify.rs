//! `hooksentry audit verify`: verifies a bundle, or the database.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use aggregates::ids::TenantId;
use anyhow::{Context, bail};
use evidence::note::{KeyType, VerifierKey};
use evidence::policy::Policy;
use thiserror::Error;

use crate::bundle::{self, BadPosition, Report, Trust};
use crate::commands::maintenance::MaintenanceSettings;
use crate::config::EncryptionSettings;
use crate::secrets::vault::Vault;
use crate::{database, log_check};

/// Verify a bundle of facts that `hooksentry audit export` wrote, or the whole history in the database.
///
/// FILE: the command needs no database and no settings. It verifies the signature of each checkpoint, each fact against the
/// checkpoint, and payloads and responses against the facts; that nothing is missing between the first and the last fact of
/// a time; and the witnesses of a policy.
///
/// --database: the command computes the trees of all tenants and of the installation again from the event log, and compares
/// them with all tiles and all signed checkpoints, and payloads and responses with the facts. It changes nothing, and the
/// service can continue to run. Facts after the last checkpoint are counted: nothing proves them yet.
///
/// It names the first position that is wrong. Exit code 0: verified; 1: not verified; 2: it could not be checked, because of
/// the arguments, because the file is no complete bundle, or because the database cannot be read.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Bundle to verify.
    #[arg(value_name = "FILE", required_unless_present = "database")]
    pub file: Option<PathBuf>,

    /// Verify the database.
    #[arg(long, conflicts_with_all = ["file", "policy"])]
    pub database: bool,

    /// Verify the logs of this tenant only.
    #[arg(long, value_name = "ID", requires = "database")]
    pub tenant: Option<TenantId>,

    /// Public key of the installation, from a source that you trust. Repeat it if several keys have signed.
    ///
    /// A checkpoint must have the signature of one of them. The bundle has no key, and a policy in it is not used.
    #[arg(long = "key", value_name = "VKEY", required = true)]
    pub keys: Vec<VerifierKey>,

    /// Witnesses that must have cosigned the log of the installation: a file of the form C2SP tlog-policy.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub settings: MaintenanceSettings,
    #[command(flatten)]
    pub encryption: EncryptionSettings,
}

/// Something that was checked is wrong.
#[derive(Debug, Error)]
#[error("not verified: {0}")]
pub struct NotVerified(String);

/// Reason why nothing could be checked.
#[derive(Debug, Error)]
#[error("not checked: {0:#}")]
pub struct NotChecked(anyhow::Error);

impl Verify {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let report = self.verify().await.map_err(NotChecked)?;
        print(&report, self.json)?;
        match report.problems.first() {
            _ if report.verified => Ok(()),
            first => Err(NotVerified(first.map_or_else(String::new, BadPosition::to_string)).into()),
        }
    }

    async fn verify(&self) -> anyhow::Result<Report> {
        let name = self.keys.first().map(VerifierKey::name);
        if self.keys.iter().any(|key| key.key_type() != KeyType::Note || Some(key.name()) != name) {
            bail!("--key must be keys of one log (type 0x01) with one name");
        }
        let Some(file) = &self.file else { return self.verify_database().await };
        let policy = self.policy.as_ref().map(|file| {
            let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            Policy::parse(&bytes).with_context(|| format!("{} is no policy", file.display()))
        });
        let trust = Trust { keys: self.keys.clone(), policy: policy.transpose()? };
        Ok(bundle::verify(file, &trust)?)
    }

    async fn verify_database(&self) -> anyhow::Result<Report> {
        let url = self.settings.begin()?;
        let master_keys = self.encryption.require()?;
        drop(self.settings.connect_to_current(&url).await?);
        let pool = database::connect(&self.settings.database, &url, self.settings.start.timeout).await?;
        let vault = Vault::new(pool.clone(), master_keys);
        let report = log_check::check(&pool, &vault, &self.keys, self.tenant).await;
        pool.close().await;
        Ok(report?)
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(report)? + "\n" } else { report.to_string() };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
