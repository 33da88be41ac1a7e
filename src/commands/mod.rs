//! What the program can be told to do: one file a command.

mod bench;
mod dev;
mod listen;
mod migrate;
mod openapi;
mod rebuild;
mod rewrap_keys;
mod serve;
mod verify_projections;

use clap::{Parser, Subcommand};

pub use bench::Bench;
pub use dev::Dev;
pub use listen::Listen;
pub use migrate::Migrate;
pub use openapi::Openapi;
pub use rebuild::Rebuild;
pub use rewrap_keys::RewrapKeys;
pub use serve::Serve;
pub use verify_projections::{CouldNotCompare, VerifyProjections};

use crate::telemetry::Telemetry;

/// Accepts webhooks, keeps them safe, delivers them, and can prove what it did.
#[derive(Debug, Parser)]
#[command(name = "hooksentry", version, about)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service, or some roles of it.
    Serve(Box<Serve>),
    /// Run everything embedded, without any configuration: for trying out and for development.
    Dev(Box<Dev>),
    /// Bring the database schema up to date.
    Migrate(Migrate),
    /// Receive webhooks, print them and verify their signatures.
    Listen(Listen),
    /// Print the description of the API, in OpenAPI 3.1.
    Openapi(Openapi),
    /// Put load on a running service, receive what it delivers, and report how it did.
    Bench(Box<Bench>),
    /// Build read models anew from the log, beside the live ones, and put them in their place.
    Rebuild(Rebuild),
    /// Compare read models, row by row, with what the log says.
    VerifyProjections(VerifyProjections),
    /// Wrap every data key under the first encryption key, so that the others can be retired.
    RewrapKeys(RewrapKeys),
}

impl Command {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(serve) => {
                let telemetry = Telemetry::start(&serve.settings.log)?;
                serve.run(telemetry).await
            }
            Self::Dev(dev) => {
                let telemetry = Telemetry::start(&dev.settings.log)?;
                dev.run(telemetry).await
            }
            Self::Migrate(migrate) => {
                Telemetry::start(&migrate.log)?;
                migrate.run().await
            }
            Self::RewrapKeys(rewrap_keys) => {
                Telemetry::start(&rewrap_keys.log)?;
                rewrap_keys.run().await
            }
            Self::Rebuild(rebuild) => {
                Telemetry::start(&rebuild.log)?;
                rebuild.run().await
            }
            Self::VerifyProjections(verify) => {
                Telemetry::start(&verify.log)?;
                verify.run().await
            }
            Self::Listen(listen) => listen.run().await,
            Self::Openapi(openapi) => openapi.run(),
            Self::Bench(bench) => bench.run().await,
        }
    }
}
