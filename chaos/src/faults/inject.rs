//! Injects planned faults into the installation.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use sqlx::Connection;
use tokio::process::Command;
use tokio::time::sleep;

use super::{FaultKind, PlannedFault};
use crate::history::{Fact, RunTime};
use crate::installation::{Installation, PROCESSES};
use crate::log;
use crate::recorder::RunClock;

/// Time for which sessions of a primary that has no clients may still end.
const SESSIONS_END: Duration = Duration::from_millis(500);

/// Injects faults, and records what clients cannot see of them.
pub(crate) struct Injector {
    clock: RunClock,
    /// Facts that a promoted standby lacks.
    pub(crate) lost_facts: Vec<Fact>,
}

/// Fault that has begun.
#[derive(Debug)]
pub(crate) struct ActiveFault {
    pub(crate) planned: PlannedFault,
    pub(crate) target: String,
    pub(crate) began: RunTime,
    /// Process id of a stopped backend.
    backend: Option<i32>,
}

impl Injector {
    #[must_use]
    pub(crate) fn new(clock: RunClock) -> Self {
        Self { clock, lost_facts: Vec::new() }
    }

    /// Begins a fault. One that replaces the database is over when this returns.
    ///
    /// # Errors
    /// A server does not start, or does not answer although no fault concerns it.
    pub(crate) async fn begin(
        &mut self,
        installation: &mut Installation,
        planned: PlannedFault,
    ) -> anyhow::Result<ActiveFault> {
        let mut began = self.clock.now();
        let mut backend = None;
        let process = planned.process.unwrap_or_default();
        match planned.kind {
            FaultKind::Kill => installation.processes[process].kill(),
            FaultKind::Pause => installation.processes[process].signal("STOP"),
            FaultKind::PostgresCrash => installation.database.crash().await?,
            FaultKind::BackendPause => backend = self.stop_backend(installation, planned.choice).await?,
            FaultKind::BrokerCrash => {
                let node = node(installation, planned.choice);
                installation.broker.nodes[node].kill();
            }
            FaultKind::QueueDeletion => {
                // It fails if the queue was deleted a moment ago and is not there again.
                let queue = installation.options.jobs_queue();
                let _ = installation.broker.nodes[0].control(&["delete_queue", queue]).await;
            }
            FaultKind::Cut | FaultKind::Delay | FaultKind::Stall | FaultKind::Swallow => {
                let delay = Duration::from_millis(50 + planned.choice % 500);
                for links in links_of(&planned) {
                    installation.links[links].begin(planned.server, planned.kind, delay);
                }
            }
            FaultKind::ClockStep => installation.processes[process].set_clock(planned.clock_step)?,
            FaultKind::AsyncFailover => began = self.lose_tail(installation, planned.duration).await?,
            FaultKind::SyncFailover => began = self.fail_over(installation).await?,
            FaultKind::PatroniFailover => installation.database.patroni()?.fail_over().await?,
            FaultKind::Restore => restore(installation).await?,
        }
        Ok(ActiveFault { target: describe(&planned, installation), planned, began, backend })
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// A server or a process does not start.
    pub(crate) async fn end(
        &mut self,
        installation: &mut Installation,
        fault: &ActiveFault,
    ) -> anyhow::Result<()> {
        let process = fault.planned.process.unwrap_or_default();
        match fault.planned.kind {
            FaultKind::Kill => installation.processes[process].start().await?,
            FaultKind::Pause => installation.processes[process].signal("CONT"),
            FaultKind::BackendPause => {
                if let Some(backend) = fault.backend {
                    signal("CONT", backend).await;
                }
            }
            FaultKind::BrokerCrash => {
                let node = node(installation, fault.planned.choice);
                installation.broker.nodes[node].start().await?;
            }
            FaultKind::Cut | FaultKind::Delay | FaultKind::Stall | FaultKind::Swallow => {
                for links in links_of(&fault.planned) {
                    installation.links[links].end(fault.planned.server, fault.planned.kind);
                }
            }
            FaultKind::ClockStep => installation.processes[process].set_clock(0)?,
            FaultKind::PostgresCrash
            | FaultKind::QueueDeletion
            | FaultKind::AsyncFailover
            | FaultKind::SyncFailover
            | FaultKind::PatroniFailover
            | FaultKind::Restore => {}
        }
        Ok(())
    }

    /// Restores what a fault used up and the next fault of its kind needs.
    ///
    /// # Errors
    /// A server does not start.
    pub(crate) async fn repair(
        &self,
        installation: &mut Installation,
        kind: FaultKind,
    ) -> anyhow::Result<()> {
        if kind == FaultKind::PatroniFailover {
            installation.database.patroni()?.repair().await?;
        }
        Ok(())
    }

    /// Stops one backend that serves a process.
    async fn stop_backend(&self, installation: &Installation, choice: u64) -> anyhow::Result<Option<i32>> {
        let mut connection = installation.database.connect().await?;
        let backends: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
             ORDER BY pid",
        )
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
        let Some(number) = usize::try_from(choice).ok().and_then(|choice| choice.checked_rem(backends.len()))
        else {
            return Ok(None);
        };
        signal("STOP", backends[number]).await;
        Ok(Some(backends[number]))
    }

    /// Replaces the primary with a standby that lacks the commits of the last moments. Returns when the primary
    /// was lost.
    async fn lose_tail(
        &mut self,
        installation: &mut Installation,
        duration: Duration,
    ) -> anyhow::Result<RunTime> {
        let standby = installation.database.create_standby().await?;
        standby.lag();
        sleep(duration.min(Duration::from_secs(2))).await;
        let began = self.clock.now();
        lose_primary(installation).await;
        let before = log::read_facts(&mut installation.database.connect().await?, self.clock).await?;
        installation.database.promote(standby).await?;
        let after = log::read_facts(&mut installation.database.connect().await?, self.clock).await?;
        let key = |fact: &Fact| (fact.aggregate_id.clone(), fact.sequence, fact.recorded);
        let kept: HashSet<_> = after.iter().map(key).collect();
        self.lost_facts.extend(before.into_iter().filter(|fact| !kept.contains(&key(fact))));
        redirect(installation)?;
        Ok(began)
    }

    /// Replaces the primary with a standby that every commit has waited for. Returns when the primary was lost.
    async fn fail_over(&mut self, installation: &mut Installation) -> anyhow::Result<RunTime> {
        let standby = installation.database.create_standby().await?;
        installation.database.set_synchronous(true).await?;
        // Commits that did not wait are on the standby as well before the primary is lost.
        sleep(Duration::from_secs(1)).await;
        let began = self.clock.now();
        lose_primary(installation).await;
        installation.database.promote(standby).await?;
        redirect(installation)?;
        Ok(began)
    }
}

/// Takes the primary away from all processes: their connections stay open and silent.
async fn lose_primary(installation: &Installation) {
    for links in &installation.links {
        links.lose_postgres();
    }
    sleep(SESSIONS_END).await;
}

fn redirect(installation: &Installation) -> anyhow::Result<()> {
    let target = installation.database.target()?;
    for links in &installation.links {
        links.redirect_postgres(target.clone());
    }
    Ok(())
}

/// Moves the database to a new cluster, as the documentation says: no process runs meanwhile.
async fn restore(installation: &mut Installation) -> anyhow::Result<()> {
    installation.kill_processes();
    installation.database.move_to_new_cluster().await?;
    let (succeeded, output) = installation.run_command(&["restore"]).await?;
    if !succeeded {
        bail!("hooksentry restore failed: {output}");
    }
    redirect(installation)?;
    for process in &mut installation.processes {
        process.start().await?;
    }
    for process in &mut installation.processes {
        process.until_ready().await?;
    }
    Ok(())
}

fn links_of(planned: &PlannedFault) -> std::ops::Range<usize> {
    planned.process.map_or(0..PROCESSES.len(), |process| process..process + 1)
}

fn node(installation: &Installation, choice: u64) -> usize {
    usize::try_from(choice)
        .ok()
        .and_then(|choice| choice.checked_rem(installation.broker.nodes.len()))
        .unwrap_or(0)
}

fn describe(planned: &PlannedFault, installation: &Installation) -> String {
    let process = planned
        .process
        .map_or("all processes".to_owned(), |process| installation.processes[process].log_name());
    match planned.kind {
        FaultKind::Kill | FaultKind::Pause => process,
        FaultKind::ClockStep => format!("{process} by {} s", planned.clock_step),
        FaultKind::Cut | FaultKind::Delay | FaultKind::Stall | FaultKind::Swallow => {
            format!("{process} and {:?}", planned.server)
        }
        FaultKind::BrokerCrash | FaultKind::QueueDeletion => "RabbitMQ".to_owned(),
        FaultKind::PostgresCrash
        | FaultKind::BackendPause
        | FaultKind::AsyncFailover
        | FaultKind::SyncFailover
        | FaultKind::PatroniFailover
        | FaultKind::Restore => "PostgreSQL".to_owned(),
    }
}

/// Sends a signal to a backend. One that has ended needs none.
async fn signal(name: &str, process: i32) {
    let _ = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}
