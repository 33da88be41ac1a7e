//! The installation under test: PostgreSQL, RabbitMQ, six processes of HookSentry, and a proxy for every
//! connection between them.

mod database;
mod links;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use private_servers::rabbitmq::RabbitMq;

pub(crate) use database::Database;
pub(crate) use links::{Links, Server};
pub(crate) use process::{ServedProcess, has_clocks};

/// Processes of the installation: name and roles. Some have all roles of deliveries: while one of them leads, it starts first
/// attempts with the acceptance of their webhooks.
pub(crate) const PROCESSES: [(&str, &str); 6] = [
    ("api-1", "api"),
    ("all-1", "api,projector,dispatcher,worker"),
    ("all-2", "api,projector,dispatcher,worker"),
    ("dispatcher-1", "projector,dispatcher"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// Number of processes with the role api, which are the first ones.
pub(crate) const APIS: usize = 3;

/// How the installation is set up.
#[derive(Clone, Debug)]
pub(crate) struct InstallationOptions {
    /// The program `hooksentry`.
    pub(crate) program: PathBuf,
    /// Folder of the servers.
    pub(crate) folder: PathBuf,
    /// Folder of the logs of processes.
    pub(crate) logs: PathBuf,
    pub(crate) broker_nodes: usize,
    /// Whether PostgreSQL is a cluster under Patroni.
    pub(crate) patroni: bool,
    pub(crate) delivery_timeout: Duration,
    pub(crate) vanished_margin: Duration,
}

impl InstallationOptions {
    /// Returns the type of the queue of jobs: one that the loss of a node leaves in place, if there are others.
    fn queue_type(&self) -> &'static str {
        if self.broker_nodes > 1 { "quorum" } else { "transient" }
    }

    /// Returns the name of the queue of jobs on the broker.
    pub(crate) fn jobs_queue(&self) -> &'static str {
        if self.broker_nodes > 1 { "hooksentry.jobs" } else { "hooksentry.transient-jobs" }
    }
}

/// Running installation. It ends when it is dropped.
pub(crate) struct Installation {
    // Processes are dropped, and so end, before their servers.
    pub(crate) processes: Vec<ServedProcess>,
    pub(crate) links: Vec<Links>,
    pub(crate) database: Database,
    pub(crate) broker: RabbitMq,
    pub(crate) options: InstallationOptions,
}

impl Installation {
    /// Starts the servers and then the processes, and waits until all are ready.
    ///
    /// # Errors
    /// A server or a process does not start.
    pub(crate) async fn start(options: InstallationOptions) -> anyhow::Result<Self> {
        let (database, broker) = tokio::try_join!(
            async {
                let database = match options.patroni {
                    true => Database::start_patroni(&options.folder).await,
                    false => Database::start(&options.folder).await,
                };
                database.context("PostgreSQL does not start")
            },
            async {
                let broker = RabbitMq::start(&options.folder.join("rabbitmq"), options.broker_nodes).await;
                broker.context("RabbitMQ does not start")
            }
        )?;
        let mut links = Vec::new();
        for _ in PROCESSES {
            links.push(Links::start(database.target()?, &broker).await.context("no proxy")?);
        }
        let mut processes = Vec::new();
        for (number, links) in links.iter().enumerate() {
            processes.push(ServedProcess::new(number, links, &options));
        }
        let mut installation = Self { processes, links, database, broker, options };
        // The first one applies the migrations.
        installation.processes[0].start().await?;
        installation.processes[0].until_ready().await?;
        for process in &mut installation.processes[1..] {
            process.start().await?;
        }
        for process in &mut installation.processes[1..] {
            process.until_ready().await?;
        }
        Ok(installation)
    }

    /// Returns the base URLs of the processes with the role api.
    #[must_use]
    pub(crate) fn apis(&self) -> Vec<String> {
        self.processes[..APIS].iter().map(ServedProcess::base).collect()
    }

    /// Kills all processes.
    pub(crate) fn kill_processes(&mut self) {
        for process in &mut self.processes {
            process.kill();
        }
    }

    /// Runs a command of `hooksentry` on the database, without any proxy. Returns whether it succeeded, and its
    /// output.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) async fn run_command(&self, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
        let mut command = tokio::process::Command::new(&self.options.program);
        command
            .args(arguments)
            .envs(process::environment(&self.options))
            .env("DATABASE_URL", self.database.url()?)
            .kill_on_drop(true);
        let output = command.output().await.context("the program cannot be started")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }
}
