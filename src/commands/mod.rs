//! Commands of the program: one file for each.

mod audit;
mod bench;
mod dev;
mod listen;
mod maintenance;
mod migrate;
mod openapi;
mod quarantine;
mod rebuild;
mod remove_second_factor;
mod restore;
mod rewrap_keys;
mod serve;
mod tenants;
mod verify_projections;
mod witness;

use clap::{Parser, Subcommand};

pub use audit::{Audit, AuditCommand, NotChecked, NotVerified};
pub use bench::Bench;
pub use dev::Dev;
pub use listen::Listen;
pub use migrate::Migrate;
pub use openapi::Openapi;
pub use quarantine::Quarantine;
pub use rebuild::Rebuild;
pub use remove_second_factor::RemoveSecondFactor;
pub use restore::Restore;
pub use rewrap_keys::RewrapKeys;
pub use serve::Serve;
pub use tenants::{InviteTenant, LiftLegalHold, PlaceLegalHold, ResumeTenant, SuspendTenant};
pub use verify_projections::{ComparisonFailed, VerifyProjections};
pub use witness::Witnessing;

// The description in the help is that of the package.
#[derive(Debug, Parser)]
#[command(name = "hooksentry", version, about)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Box<Serve>),
    Dev(Box<Dev>),
    Migrate(Migrate),
    Listen(Listen),
    Openapi(Openapi),
    /// Send webhooks to a running service, receive its deliveries, and report throughput and latency.
    Bench(Box<Bench>),
    Rebuild(Rebuild),
    VerifyProjections(VerifyProjections),
    Quarantine(Quarantine),
    Restore(Restore),
    RewrapKeys(RewrapKeys),
    Audit(Audit),
    Witness(Witnessing),
    InviteTenant(InviteTenant),
    SuspendTenant(SuspendTenant),
    RemoveSecondFactor(RemoveSecondFactor),
    ResumeTenant(ResumeTenant),
    PlaceLegalHold(PlaceLegalHold),
    LiftLegalHold(LiftLegalHold),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed. A [`SettingProblem`](crate::config::SettingProblem), a [`ComparisonFailed`] and a
    /// [`NotChecked`] have an exit code of their own.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(serve) => serve.run().await,
            Self::Dev(dev) => dev.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Listen(listen) => listen.run().await,
            Self::Openapi(openapi) => openapi.run(),
            Self::Bench(bench) => bench.run().await,
            Self::Rebuild(rebuild) => rebuild.run().await,
            Self::VerifyProjections(verify) => verify.run().await,
            Self::Quarantine(quarantine) => quarantine.run().await,
            Self::Restore(restore) => restore.run().await,
            Self::RewrapKeys(rewrap_keys) => rewrap_keys.run().await,
            Self::Audit(audit) => audit.run().await,
            Self::Witness(witness) => witness.run().await,
            Self::InviteTenant(invite) => invite.run(),
            Self::SuspendTenant(suspend) => suspend.run().await,
            Self::RemoveSecondFactor(remove) => remove.run().await,
            Self::ResumeTenant(resume) => resume.run().await,
            Self::PlaceLegalHold(place) => place.run().await,
            Self::LiftLegalHold(lift) => lift.run().await,
        }
    }
}
