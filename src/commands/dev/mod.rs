//! `hooksentry dev`: runs the whole service in one process, without configuration.
//!
//! It provides the settings that `serve` requires: a private PostgreSQL, a queue within the process, and keys
//! that it generates once and stores next to the data. Settings that are given win.

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
/// Run the whole service with a private database, without configuration: for evaluation and development.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("allow_insecure_destinations", |arg| arg.default_value("true")),
    mut_arg("tenant_creations_per_hour", |arg| arg.default_value("0")),
    mut_arg("min_length", |arg| arg.default_value("0")),
    mut_arg("refuse_common", |arg| arg.default_value("false")),
    mut_arg("require_current", |arg| arg.default_value("false")),
)]
pub struct Dev {
    /// Folder of the database and the generated keys.
    #[arg(long, env = "HOOKSENTRY_DATA_DIR", value_name = "FOLDER", default_value = ".hooksentry")]
    pub data_dir: PathBuf,

    /// Create a tenant with a working and a failing receiver, send some webhooks, and print how to continue.
    #[arg(long)]
    pub demo: bool,

    #[command(flatten)]
    pub settings: Settings,
}

impl Dev {
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let telemetry = Telemetry::start(&self.settings.log)?;
        let lifecycle = Lifecycle::new(self.settings.stop.deadline);
        lifecycle.handle_signals()?;
        let folder = DataFolder::open(self.data_dir.clone())?;
        let Some(mut postgres) = self.start_database(&folder).await? else {
            self.generate_keys(&folder)?;
            return self.serve(telemetry, lifecycle, &folder).await;
        };
        // PostgreSQL has locked the folder, so no other process generates keys in it.
        self.generate_keys(&folder)?;
        let served = tokio::select! {
            served = self.serve(telemetry, lifecycle, &folder) => served,
            ended = postgres.unexpected_end() => Err(ended.into()),
        };
        let stopped = postgres.stop().await;
        served?;
        stopped.context("the private PostgreSQL did not stop cleanly")?;
        tracing::info!("stopped");
        Ok(())
    }

    async fn start_database(&mut self, folder: &DataFolder) -> anyhow::Result<Option<PrivatePostgres>> {
        if let Some(url) = &self.settings.database.url {
            tracing::info!(database = %url, "using the database in DATABASE_URL");
            return Ok(None);
        }
        let data_dir = folder.path().join("postgres");
        let postgres = PrivatePostgres::start(PostgresOptions::new(&data_dir, Durability::Durable)).await?;
        let url = postgres.url();
        self.settings.database.url = Some(url.parse().context("the URL of the private PostgreSQL")?);
        Ok(Some(postgres))
    }

    fn generate_keys(&mut self, folder: &DataFolder) -> anyhow::Result<()> {
        if self.settings.signing.jwt_key.is_none() {
            self.settings.signing.jwt_key = Some(folder.key::<SigningKeys>("jwt-key")?);
        }
        if self.settings.encryption.encryption_key.is_none() {
            self.settings.encryption.encryption_key = Some(folder.key::<MasterKeys>("encryption-key")?);
        }
        let evidence = &mut self.settings.evidence;
        if evidence.evidence_key.is_none() && evidence.evidence_key_file.is_none() {
            evidence.evidence_key = Some(folder.log_keys("evidence-key")?);
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
            let links = self.settings.http.dashboard.then(|| service.sign_in_links());
            tokio::select! {
                shown = demo::show(&base, links, folder.path(), &lifecycle) => shown.context("the demonstration failed")?,
                () = stop.cancelled() => {}
            }
        } else {
            writeln!(
                io::stdout(),
                "HookSentry is ready: dashboard {base}, API {base}/api/v1, to try it {base}/docs"
            )?;
        }
        Ok(service.finish().await?)
    }
}

/// Returns the address at which a client on this machine reaches a server that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}
