//! `hooksentry audit export`: writes facts with their proofs into one file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use aggregates::ids::TenantId;
use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use evidence::policy::Policy;
use uuid::Uuid;

use crate::bundle::{self, Selection, Source};
use crate::commands::maintenance::MaintenanceSettings;
use crate::config::EncryptionSettings;
use crate::database;
use crate::lifecycle::Lifecycle;
use crate::secrets::vault::Vault;

/// Time within which a step in progress must end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Write facts of a tenant with their proofs into one file, a bundle, which anyone can verify without this installation.
///
/// A bundle has the exact texts of the facts, the payloads and responses that are still stored, the signed checkpoint, and
/// what connects them. `hooksentry audit verify FILE --key VKEY` verifies it; its README.txt says how to do that with
/// openssl and Python alone. Without --event, --destination, --from and --to it has all facts of the tenant.
///
/// Facts that no signed checkpoint covers yet are left out. Next to FILE, the command needs disk space for the texts of the
/// facts. It can be stopped at any time; then there is no file.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Tenant whose facts are exported.
    #[arg(long, value_name = "ID")]
    pub tenant: TenantId,

    /// Export the facts of this webhook event.
    #[arg(long, value_name = "ID", conflicts_with_all = ["destination", "from", "to"])]
    pub event: Option<Uuid>,

    /// Export the facts of this destination and of all webhook events that were accepted for it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to"])]
    pub destination: Option<Uuid>,

    /// Export all facts recorded at or after this time, such as 2026-11-21T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<DateTime<Utc>>,

    /// Export all facts recorded before this time.
    #[arg(long, value_name = "TIME")]
    pub to: Option<DateTime<Utc>>,

    /// New file to write. Only its owner can read it.
    #[arg(long, value_name = "FILE", default_value = "bundle.tar.gz")]
    pub output: PathBuf,

    /// Policy that names the witnesses of this installation (C2SP tlog-policy), for the information of the recipient.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    #[command(flatten)]
    pub settings: MaintenanceSettings,
    #[command(flatten)]
    pub encryption: EncryptionSettings,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let selection = self.selection()?;
        let policy = self.read_policy()?;
        let url = self.settings.begin()?;
        let master_keys = self.encryption.require()?;
        let connection = self.settings.connect_to_current(&url).await?;
        let pool = database::connect(&self.settings.database, &url, self.settings.start.timeout).await?;
        let vault = Vault::new(pool.clone(), master_keys);
        let source = Source { pool: pool.clone(), connection, vault, tenant: self.tenant };
        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.handle_signals()?;
        let exported = tokio::select! {
            exported = bundle::export(source, selection, policy.as_deref(), &self.output) => exported,
            () = lifecycle.intake().cancelled_owned() => bail!("interrupted: no file was written"),
        };
        let exported = exported.with_context(|| format!("{} was not written", self.output.display()))?;
        pool.close().await;
        let mut output = io::stdout().lock();
        writeln!(
            output,
            "{} entries and {} payloads were written to {}",
            exported.entries,
            exported.payloads,
            self.output.display()
        )?;
        if exported.unsealed_facts > 0 {
            let facts = exported.unsealed_facts;
            writeln!(output, "{facts} facts are left out, because no signed checkpoint covers them yet")?;
        }
        Ok(())
    }

    fn selection(&self) -> anyhow::Result<Selection> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            bail!("--from must be before --to")
        }
        Ok(match (self.event, self.destination) {
            (Some(id), _) => Selection::Event(id),
            (None, Some(id)) => Selection::Destination(id),
            (None, None) => Selection::Recorded { from: self.from, to: self.to },
        })
    }

    fn read_policy(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = &self.policy else { return Ok(None) };
        let policy = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Policy::parse(&policy).with_context(|| format!("{} is no policy", file.display()))?;
        Ok(Some(policy))
    }
}
