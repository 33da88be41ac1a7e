//! Commands of the transparency logs.

mod keygen;

use clap::Subcommand;

use keygen::Keygen;

/// Make keys for the transparency logs.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    Keygen(Keygen),
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            AuditCommand::Keygen(keygen) => keygen.run(),
        }
    }
}
