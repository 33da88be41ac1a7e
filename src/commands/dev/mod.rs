//! `hooksentry dev`: everything in one process, with nothing to configure.
//!
//! What `serve` must be given, `dev` brings along: a private PostgreSQL, a queue within the process, and
//! keys that are made once and kept beside the data. Every setting can be given all the same and wins.

mod data_folder;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};

use crate::config::{Roles, Settings};
use crate::demo;
use crate::lifecycle::Lifecycle;
use crate::secrets::master_keys::MasterKeys;
use crate::secrets::signing_keys::SigningKeys;
use crate::service::Service;
use crate::telemetry::Telemetry;
use data_folder::DataFolder;

/// The service with everything it needs.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("allow_insecure_destinations", |arg| arg.default_value("true")),
    mut_arg("tenant_creations_per_hour", |arg| arg.default_value("0")),
)]
pub struct Dev {
    /// The folder for everything that is kept: the database and the keys.
    #[arg(long, env = "HOOKSENTRY_DATA_DIR", value_name = "FOLDER", default_value = ".hooksentry")]
    pub data_dir: PathBuf,

    /// Set up a tenant with a working and a failing receiver, send some webhooks, and say how to go on.
    #[arg(long)]
    pub demo: bool,

    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
}

impl Dev {
    pub(super) async fn run(mut self, telemetry: Telemetry) -> anyhow::Result<()> {
        let lifecycle = Lifecycle::new(self.settings.stop.deadline);
        lifecycle.attend_to_signals()?;
        let folder = DataFolder::open(self.data_dir.clone())?;
        let Some(mut postgres) = self.bring_a_database(&folder).await? else {
            self.bring_keys(&folder)?;
            return self.serve(telemetry, lifecycle, &folder).await;
        };
        // The folder has one owner now, so nobody else makes keys in it.
        self.bring_keys(&folder)?;
        let ending = tokio::select! {
            ending = self.serve(telemetry, lifecycle, &folder) => ending,
            ended = postgres.unexpected_end() => Err(ended.into()),
        };
        let stopped = postgres.stop().await;
        ending?;
        stopped.context("the private PostgreSQL did not stop cleanly")?;
        tracing::info!("stopped");
        Ok(())
    }

    async fn bring_a_database(&mut self, folder: &DataFolder) -> anyhow::Result<Option<PrivatePostgres>> {
        if let Some(url) = &self.settings.database.url {
            tracing::info!(database = %url, "using the database that DATABASE_URL names");
            return Ok(None);
        }
        let data_dir = folder.path().join("postgres");
        let postgres = PrivatePostgres::start(PostgresOptions::new(&data_dir, Durability::Durable)).await?;
        let url = postgres.url();
        self.settings.database.url = Some(url.parse().context("the URL of the private PostgreSQL")?);
        Ok(Some(postgres))
    }

    fn bring_keys(&mut self, folder: &DataFolder) -> anyhow::Result<()> {
        if self.settings.signing.jwt_key.is_none() {
            self.settings.signing.jwt_key = Some(folder.key::<SigningKeys>("jwt-key")?);
        }
        if self.settings.encryption.encryption_key.is_none() {
            self.settings.encryption.encryption_key = Some(folder.key::<MasterKeys>("encryption-key")?);
        }
        Ok(())
    }

    async fn serve(
        &self,
        telemetry: Telemetry,
        lifecycle: Lifecycle,
        folder: &DataFolder,
    ) -> anyhow::Result<()> {
        let service = Service::start(&self.settings, &Roles::all(), telemetry, lifecycle.clone()).await?;
        let base = format!("http://{}", reachable(service.address()));
        if self.demo {
            let stop = lifecycle.intake();
            tokio::select! {
                shown = demo::show(&base, folder.path(), &lifecycle) => shown.context("the demonstration failed")?,
                () = stop.cancelled() => {}
            }
        } else {
            writeln!(
                io::stdout(),
                "HookSentry is ready at {base} (API: {base}/api/v1, to try it: {base}/docs)"
            )?;
        }
        Ok(service.finish().await?)
    }
}

/// Where a client on this machine finds what listens to `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}
