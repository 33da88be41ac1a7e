//! `hooksentry serve`: runs the service, or some of its roles.

use crate::config::{Roles, Settings};
use crate::lifecycle::Lifecycle;
use crate::service::Service;
use crate::telemetry::Telemetry;

/// Run the service, or some of its roles.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Roles of this process, separated by commas.
    ///
    /// Any number of processes may have the roles api and worker. Of several processes with the role
    /// projector, dispatcher or sealer, one is active and the others are on standby.
    #[arg(
        long,
        env = "HOOKSENTRY_ROLES",
        value_name = "ROLES",
        default_value = "api,projector,dispatcher,worker,sealer"
    )]
    pub roles: Roles,

    #[command(flatten)]
    pub settings: Settings,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let telemetry = Telemetry::start(&self.settings.log)?;
        let lifecycle = Lifecycle::new(self.settings.stop.deadline);
        lifecycle.handle_signals()?;
        let service = Service::start(&self.settings, &self.roles, telemetry, lifecycle).await?;
        service.finish().await?;
        tracing::info!("stopped");
        Ok(())
    }
}
