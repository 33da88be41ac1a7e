//! `hooksentry serve`: the service, or some roles of it.

use crate::config::{Roles, Settings};
use crate::lifecycle::Lifecycle;
use crate::service::Service;
use crate::telemetry::Telemetry;

/// The service.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Which parts of the service this process runs, separated by commas.
    ///
    /// Any number of processes may have the roles api and worker. Of several with the roles projector or
    /// dispatcher one works and the others stand by.
    #[arg(
        long,
        env = "HOOKSENTRY_ROLES",
        value_name = "ROLES",
        default_value = "api,projector,dispatcher,worker"
    )]
    pub roles: Roles,

    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
}

impl Serve {
    pub(super) async fn run(self, telemetry: Telemetry) -> anyhow::Result<()> {
        let lifecycle = Lifecycle::new(self.settings.stop.deadline);
        lifecycle.attend_to_signals()?;
        let service = Service::start(&self.settings, &self.roles, telemetry, lifecycle).await?;
        service.finish().await?;
        tracing::info!("stopped");
        Ok(())
    }
}
