//! What a run cost: CPU time and memory of processes, and what the database wrote.

mod database;
mod processes;

use std::time::Duration;

use tokio::time::sleep;

pub use database::Statement;
pub use processes::WatchedProcess;

pub(crate) use database::DatabaseReading;
pub(crate) use processes::ProcessReading;

use super::options::BenchOptions;
use database::DatabaseMeter;
use processes::{ProcessMeter, own_cpu_seconds};

/// How long PostgreSQL's processes may keep to themselves what they counted: ten seconds, once idle.
const COUNTED_AFTER: Duration = Duration::from_millis(10_500);

/// Everything that is read before and after a load.
pub(crate) struct Meters {
    processes: ProcessMeter,
    database: Option<DatabaseMeter>,
}

/// What the meters showed.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) processes: Vec<ProcessReading>,
    pub(crate) database: Option<DatabaseReading>,
    /// CPU time of this program, where that can be known.
    pub(crate) own_cpu_seconds: Option<f64>,
}

impl Meters {
    pub(crate) async fn start(options: &BenchOptions) -> anyhow::Result<Self> {
        let database = match &options.database_url {
            Some(url) => Some(DatabaseMeter::connect(url).await?),
            None => None,
        };
        Ok(Self { processes: ProcessMeter::start(options.processes.clone())?, database })
    }

    /// Reads everything, right before a load.
    pub(crate) async fn before(&mut self) -> anyhow::Result<Reading> {
        let database = match &mut self.database {
            // What the setup or the load before left uncounted is little, or was waited for.
            Some(database) => Some(database.read().await?),
            None => None,
        };
        Ok(self.reading(database))
    }

    /// Reads everything, right after a load.
    pub(crate) async fn after(&mut self) -> anyhow::Result<Reading> {
        let mut reading = self.reading(None);
        if let Some(database) = &mut self.database {
            // Everything is exact at once but for the commits. Without the wait, those of the last second
            // would be missing.
            let exact = database.read().await?;
            sleep(COUNTED_AFTER).await;
            let commits = database.read().await?.commits;
            reading.database = Some(DatabaseReading { commits, ..exact });
        }
        Ok(reading)
    }

    fn reading(&self, database: Option<DatabaseReading>) -> Reading {
        Reading { processes: self.processes.read(), database, own_cpu_seconds: own_cpu_seconds() }
    }
}
