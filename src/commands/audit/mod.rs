//! Commands of the transparency logs.

mod export;
mod keygen;
mod verify;

use clap::Subcommand;

use export::Export;
use keygen::Keygen;
use verify::Verify;

pub use verify::{NotChecked, NotVerified};

/// Make keys for the transparency logs, export facts with their proofs, and verify them.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    Keygen(Keygen),
    Export(Box<Export>),
    Verify(Box<Verify>),
}

impl Audit {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            AuditCommand::Keygen(keygen) => keygen.run(),
            AuditCommand::Export(export) => export.run().await,
            AuditCommand::Verify(verify) => verify.run().await,
        }
    }
}
