//! Runs a command with a PostgreSQL and a RabbitMQ of its own, and removes both afterwards.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};

use clap::Parser;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};
use private_servers::rabbitmq::RabbitMq;
use private_servers::{ServerError, TemporaryFolder};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Run a command with a PostgreSQL and a RabbitMQ of its own, and remove both afterwards.
///
/// The command finds them in its environment:
///
///   HOOKSENTRY_TEST_DATABASE_URL  a superuser's database on the PostgreSQL; DATABASE_URL is the same
///   HOOKSENTRY_TEST_AMQP_URL      the RabbitMQ
///   HOOKSENTRY_TEST_PIDS          files with the process ids of both: postgres=FILE rabbitmq=FILE
///   PATH                          with the folder of PostgreSQL's programs at its end
///
/// Both servers are in one folder in TMPDIR. HOOKSENTRY_TEST_POSTGRES_OPTIONS holds further arguments for
/// PostgreSQL, such as "-c shared_preload_libraries=pg_stat_statements".
#[derive(Debug, Parser)]
#[command(name = "private-servers", verbatim_doc_comment)]
struct CommandLine {
    /// Start no RabbitMQ.
    #[arg(long)]
    postgres_only: bool,

    /// Configure PostgreSQL as in production: it waits for the disk and has more memory.
    #[arg(long)]
    durable: bool,

    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Settings of a PostgreSQL in production. There, a replica or a backup reads the WAL.
const PRODUCTION: [&str; 6] = [
    "max_connections=500",
    "wal_level=replica",
    "max_wal_senders=10",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
];

/// Environment variables that `cargo run` sets for the program it runs. They must not reach a `cargo` that
/// `COMMAND` runs, where they would make build scripts run again.
const SET_BY_CARGO: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

#[derive(Debug, Error)]
enum RunFailure {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("{0} cannot be started")]
    Command(String, #[source] io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(CommandLine::parse()).await {
        Ok(code) => code,
        Err(failure) => {
            let mut text = failure.to_string();
            let mut source = std::error::Error::source(&failure);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            // Ignore a failing stderr.
            let _ = writeln!(io::stderr(), "private-servers: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command_line: CommandLine) -> Result<ExitCode, RunFailure> {
    let mut signals = Signals::handle()?;
    let folder = TemporaryFolder::create()?;
    let servers = tokio::select! {
        servers = Servers::start(folder.path(), &command_line) => servers?,
        signal = signals.next() => return Ok(exit_code_of_signal(signal)),
    };
    let ended = run_command(&command_line.command, &servers, &mut signals).await;
    servers.stop().await?;
    ended
}

/// The servers and the folder of the files with their process ids.
struct Servers {
    postgres: PrivatePostgres,
    rabbitmq: Option<RabbitMq>,
    process_ids: String,
}

impl Servers {
    async fn start(folder: &Path, command_line: &CommandLine) -> Result<Self, RunFailure> {
        let mut options = PostgresOptions::new(&folder.join("postgres"), Durability::Disposable);
        if command_line.durable {
            options.durability = Durability::Durable;
            options.arguments =
                PRODUCTION.iter().flat_map(|&setting| ["-c", setting]).map(str::to_owned).collect();
        }
        let further = env::var("HOOKSENTRY_TEST_POSTGRES_OPTIONS").unwrap_or_default();
        options.arguments.extend(further.split_whitespace().map(str::to_owned));
        let rabbitmq = async {
            match command_line.postgres_only {
                true => Ok(None),
                false => RabbitMq::start(&folder.join("rabbitmq"), 1).await.map(Some),
            }
        };
        let (postgres, rabbitmq) = tokio::try_join!(PrivatePostgres::start(options), rabbitmq)?;
        let mut process_ids = write_process_id(folder, "postgres", postgres.process_id())?;
        if let Some(process_id) = rabbitmq.as_ref().and_then(|rabbitmq| rabbitmq.nodes[0].process_id()) {
            process_ids = format!("{process_ids} {}", write_process_id(folder, "rabbitmq", process_id)?);
        }
        Ok(Self { postgres, rabbitmq, process_ids })
    }

    async fn stop(self) -> Result<(), ServerError> {
        let data = self.postgres.data_dir().to_owned();
        self.postgres.stop().await?;
        // For root it may be outside of the temporary folder.
        let _ = fs::remove_dir_all(data);
        Ok(())
    }
}

/// Returns `SERVER=FILE`.
fn write_process_id(folder: &Path, server: &str, process_id: u32) -> io::Result<String> {
    let file = folder.join(format!("{server}.pid"));
    fs::write(&file, format!("{process_id}\n"))?;
    Ok(format!("{server}={}", file.display()))
}

async fn run_command(
    command: &[OsString],
    servers: &Servers,
    signals: &mut Signals,
) -> Result<ExitCode, RunFailure> {
    let [program, arguments @ ..] = command else { return Ok(ExitCode::FAILURE) };
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([servers.postgres.programs().to_owned()]);
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if SET_BY_CARGO.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("HOOKSENTRY_TEST_DATABASE_URL", servers.postgres.url())
        .env("DATABASE_URL", servers.postgres.url())
        .env("HOOKSENTRY_TEST_PIDS", &servers.process_ids)
        .env("PATH", env::join_paths(folders).unwrap_or(path));
    if let Some(rabbitmq) = &servers.rabbitmq {
        command.env("HOOKSENTRY_TEST_AMQP_URL", rabbitmq.nodes[0].url());
    }
    let failure = |source| RunFailure::Command(program.display().to_string(), source);
    let mut process = command.spawn().map_err(failure)?;
    let mut received = None;
    loop {
        tokio::select! {
            status = process.wait() => {
                let status = status.map_err(failure)?;
                return Ok(received.map_or_else(|| exit_code(status), exit_code_of_signal));
            }
            signal = signals.next() => {
                received = Some(signal);
                // The terminal sends SIGINT to the command as well; the other signals reach only this
                // process.
                if signal != SignalKind::interrupt() {
                    forward(signal, &process).await;
                }
            }
        }
    }
}

async fn forward(signal: SignalKind, process: &Child) {
    let Some(process_id) = process.id() else { return };
    // A process that has ended in the meantime needs no signal.
    let _ = Command::new("kill")
        .args([format!("-{}", signal.as_raw_value()), process_id.to_string()])
        .stderr(Stdio::null())
        .status()
        .await;
}

/// Returns the exit code by the convention of shells: 128 and the number of the signal that ended the
/// process.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn exit_code_of_signal(signal: SignalKind) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw_value()).unwrap_or(1))
}

struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn handle() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.hang_up.recv() => SignalKind::hangup(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}
