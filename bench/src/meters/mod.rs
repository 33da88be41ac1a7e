//! Meters of a run: CPU time and memory of processes, and the database's counters.

mod database;
mod processes;

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::sleep;

pub use database::Statement;
pub use processes::WatchedProcess;

pub(crate) use database::DatabaseReading;
pub(crate) use processes::ProcessReading;

use database::DatabaseMeter;
use processes::{ProcessMeter, own_cpu_seconds};

/// How long idle PostgreSQL backends may hold statistics back before they publish them: ten seconds.
const STATISTICS_DELAY: Duration = Duration::from_millis(10_500);

/// Meters that are read before and after each load.
pub(crate) struct Meters {
    processes: ProcessMeter,
    database: Option<DatabaseMeter>,
}

/// Reading of all meters at one time.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) processes: Vec<ProcessReading>,
    pub(crate) database: Option<DatabaseReading>,
    /// CPU time of this program; `None` without `/proc`.
    pub(crate) own_cpu_seconds: Option<f64>,
}

impl Meters {
    /// Starts to watch the processes, and connects to the database.
    pub(crate) async fn start(
        processes: Vec<WatchedProcess>,
        database_url: Option<&SecretString>,
    ) -> anyhow::Result<Self> {
        let database = match database_url {
            Some(url) => Some(DatabaseMeter::connect(url).await?),
            None => None,
        };
        Ok(Self { processes: ProcessMeter::start(processes)?, database })
    }

    /// Reads all meters immediately before a load.
    pub(crate) async fn before(&mut self) -> anyhow::Result<Reading> {
        let database = match &mut self.database {
            // Statistics of the previous load are complete, and those of the setup are few.
            Some(database) => Some(database.read().await?),
            None => None,
        };
        Ok(self.reading(database))
    }

    /// Reads all meters immediately after a load. Waits until PostgreSQL has published its statistics.
    pub(crate) async fn after(&mut self) -> anyhow::Result<Reading> {
        let mut reading = self.reading(None);
        if let Some(database) = &mut self.database {
            // Only the number of commits is published late.
            let exact = database.read().await?;
            sleep(STATISTICS_DELAY).await;
            let commits = database.read().await?.commits;
            reading.database = Some(DatabaseReading { commits, ..exact });
        }
        Ok(reading)
    }

    fn reading(&self, database: Option<DatabaseReading>) -> Reading {
        Reading { processes: self.processes.read(), database, own_cpu_seconds: own_cpu_seconds() }
    }
}
