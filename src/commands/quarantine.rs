//! `hooksentry quarantine`: lists the streams that the log has with a gap.

use std::io::{self, Write};

use projections::quarantine::{self, QuarantinedStream};
use sqlx::Connection;

use super::maintenance::MaintenanceSettings;

/// List the streams that are in quarantine because the log lacks some of their facts.
///
/// A failover that loses the last commits can leave such streams behind. Read models show each of them as of
/// the last fact before the gap. Deliveries of other events are not affected.
#[derive(Debug, clap::Args)]
pub struct Quarantine {
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl Quarantine {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut connection = self.settings.connect_to_current(&self.settings.begin()?).await?;
        let streams = quarantine::list(&mut connection).await?;
        connection.close().await?;
        let mut output = io::stdout().lock();
        if streams.is_empty() {
            writeln!(output, "no stream is in quarantine")?;
        }
        for stream in streams {
            writeln!(output, "{}", line(&stream))?;
        }
        Ok(())
    }
}

fn line(stream: &QuarantinedStream) -> String {
    let gap = &stream.gap;
    let tenant = gap.tenant_id.map_or_else(String::new, |tenant| format!(", tenant {tenant}"));
    format!(
        "{} {}{tenant}: version {} is missing, found at {}",
        gap.aggregate_type,
        gap.stream_id,
        gap.missing_sequence,
        stream.found_at.to_rfc3339(),
    )
}
