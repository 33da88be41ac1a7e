//! `hooksentry place-legal-hold` and `hooksentry lift-legal-hold`: place a tenant under a legal hold, and lift it.

use std::io::{self, Write};

use aggregates::ids::TenantId;
use aggregates::legal_hold::{HeldSubject, LegalHoldCommand};
use aggregates::tenant::Tenant;
use aggregates::text::{self, ERASURE_REASON_CHARS_MAX, TextProblem};
use anyhow::bail;

use crate::clock;
use crate::commands::maintenance::MaintenanceSettings;
use crate::database;
use crate::event_store::{self, EventStore, LogNotifier, Metadata};

/// Place a legal hold on a tenant: erase nothing of it, neither on request nor by retention.
///
/// The tenant sees the hold and its reason. The command returns when the hold is in force.
#[derive(Debug, clap::Args)]
pub struct PlaceLegalHold {
    #[command(flatten)]
    pub hold: LegalHoldArguments,
}

/// Lift the legal hold on a tenant.
///
/// Retention continues with its next pass. The command can be repeated.
#[derive(Debug, clap::Args)]
pub struct LiftLegalHold {
    #[command(flatten)]
    pub hold: LegalHoldArguments,
}

/// Arguments of both commands.
#[derive(Debug, clap::Args)]
pub struct LegalHoldArguments {
    /// Id of the tenant.
    #[arg(value_name = "ID")]
    pub id: TenantId,
    /// Reason, which is recorded in the log.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl PlaceLegalHold {
    pub(in crate::commands) async fn run(self) -> anyhow::Result<()> {
        let LegalHoldArguments { id, reason, settings } = self.hold;
        let place = LegalHoldCommand::Place { subject: HeldSubject::Tenant, reason, at: clock::now() };
        execute(&settings, id, place).await?;
        writeln!(io::stdout(), "tenant {id} is under a legal hold")?;
        Ok(())
    }
}

impl LiftLegalHold {
    pub(in crate::commands) async fn run(self) -> anyhow::Result<()> {
        let LegalHoldArguments { id, reason, settings } = self.hold;
        let lift = LegalHoldCommand::Lift { reason, at: clock::now() };
        match execute(&settings, id, lift).await? {
            true => writeln!(io::stdout(), "the legal hold on tenant {id} is lifted")?,
            false => writeln!(io::stdout(), "tenant {id} was not under a legal hold")?,
        }
        Ok(())
    }
}

/// Executes a command of the legal hold on a tenant. Returns whether it changed something.
async fn execute(
    settings: &MaintenanceSettings,
    id: TenantId,
    command: LegalHoldCommand,
) -> anyhow::Result<bool> {
    let url = settings.begin()?;
    let mut connection = settings.connect_to_current(&url).await?;
    event_store::require_own_log(&mut connection).await?;
    drop(connection);
    let pool = database::connect(&settings.database, &url, settings.start.timeout).await?;
    let store = EventStore::new(pool.clone(), LogNotifier::within_process());
    if store.load::<Tenant>(id.0).await?.version == 0 {
        bail!("no tenant has the id {id}");
    }
    let executed = store.execute_legal_hold(id, id.0, command, &Metadata::of_operator(id)).await?;
    pool.close().await;
    Ok(!executed.facts.is_empty())
}

fn reason(text: &str) -> Result<String, TextProblem> {
    text::name(text, ERASURE_REASON_CHARS_MAX)
}
