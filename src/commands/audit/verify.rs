//! `hooksentry audit verify`: verifies a bundle.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use evidence::note::{KeyType, VerifierKey};
use evidence::policy::Policy;
use thiserror::Error;

use crate::bundle::{self, BadPosition, Report, Trust};

/// Verify a bundle of facts that `hooksentry audit export` wrote.
///
/// The command needs no database and no settings. It verifies the signature of each checkpoint, each fact against the
/// checkpoint, and payloads and responses against the facts; that nothing is missing between the first and the last fact of
/// a time; and the witnesses of a policy. It names the first position that is wrong.
///
/// Exit code 0: verified; 1: not verified; 2: it could not be checked, because of the arguments or because the file is no
/// complete bundle.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// Bundle to verify.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

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
        let report = self.verify().map_err(NotChecked)?;
        print(&report, self.json)?;
        match report.problems.first() {
            _ if report.verified => Ok(()),
            first => Err(NotVerified(first.map_or_else(String::new, BadPosition::to_string)).into()),
        }
    }

    fn verify(&self) -> anyhow::Result<Report> {
        let name = self.keys.first().map(VerifierKey::name);
        if self.keys.iter().any(|key| key.key_type() != KeyType::Note || Some(key.name()) != name) {
            anyhow::bail!("--key must be keys of one log (type 0x01) with one name");
        }
        let policy = self.policy.as_ref().map(|file| {
            let bytes = fs::read(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
            Policy::parse(&bytes).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
        });
        let trust = Trust { keys: self.keys.clone(), policy: policy.transpose()? };
        Ok(bundle::verify(&self.file, &trust)?)
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(report)? + "\n" } else { report.to_string() };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
