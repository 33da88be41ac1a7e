//! Processes of the program that a test starts, stops and kills.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use hooksentry::secrets::vault::Vault;
use socket2::{Domain, Socket, Type};
use sqlx::PgPool;
use tokio::process::{Child, Command};

use super::rabbitmq::SharedBroker;
use super::{client, until};

const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A running `hooksentry`. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    base: Option<String>,
}

/// Arguments and environment of a process.
pub(crate) struct Launch {
    command: Command,
    port: Option<u16>,
}

/// Returns the vault of the processes that tests start on a database.
pub(crate) fn vault(pool: PgPool) -> Vault {
    Vault::new(pool, ENCRYPTION_KEY.parse().expect("a master key"))
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A port of which no other process takes hold. Connections to it are refused until a server listens there, and again when
/// that has ended.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    pub(crate) port: u16,
    _bound: Socket,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // It never listens, so a server that reuses addresses, as all of ours do, can listen on the same port.
        socket.set_reuse_address(true).expect("an option");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { port: address.expect("an address").port(), _bound: socket }
    }
}

impl Launch {
    /// `hooksentry serve` with these roles.
    pub(crate) fn serve(roles: &str, database_url: &str) -> Self {
        let mut launch = Self::new("serve");
        launch.command.args(["--roles", roles]);
        launch
            .with("DATABASE_URL", database_url)
            .with("HOOKSENTRY_JWT_KEY", "tests:a-key-of-at-least-32-bytes-for-tests")
            .with("HOOKSENTRY_ENCRYPTION_KEY", ENCRYPTION_KEY)
            .with("HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS", "true")
            .with("HOOKSENTRY_TENANT_CREATIONS_PER_HOUR", "0")
            .with("HOOKSENTRY_PROMPT_REFUSALS", "0")
    }

    /// `hooksentry dev` on a data folder.
    pub(crate) fn dev(data_dir: &Path) -> Self {
        let mut launch = Self::new("dev");
        launch.command.arg("--data-dir").arg(data_dir);
        launch
    }

    fn new(subcommand: &str) -> Self {
        super::install_tls();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
        let port = free_port();
        command
            .arg(subcommand)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .env_remove("DATABASE_URL")
            .env_remove("AMQP_URL")
            .env("HOOKSENTRY_LOG", "warn,hooksentry=info")
            // The default cost of hashing would slow down the whole suite.
            .env("HOOKSENTRY_PASSWORD_MEMORY_KIB", "64")
            .env("HOOKSENTRY_PASSWORD_PASSES", "1")
            .env("HOOKSENTRY_BREAKER_PAUSE_MIN", "1s")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self { command, port: Some(port) }
    }

    /// Uses `broker` for its jobs, with queues of this test.
    pub(crate) fn through(self, broker: &SharedBroker) -> Self {
        self.with("AMQP_URL", &broker.url).with("HOOKSENTRY_QUEUE_PREFIX", &broker.prefix)
    }

    /// Sets an environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the process, which must end during its start. Returns what it prints.
    pub(crate) async fn refused(mut self) -> String {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = finished(self.command.spawn().expect("the program starts")).await;
        assert_ne!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
        ended.errors
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn ready(mut self) -> Process {
        let base = self.port.map(|port| format!("http://127.0.0.1:{port}"));
        let child = self.command.spawn().expect("the program starts");
        let mut process = Process { child, base: base.clone() };
        if let Some(base) = base {
            let client = client();
            until("the program to be ready", async || {
                if let Some(status) = process.child.try_wait().expect("a child process") {
                    panic!("the program ended during startup: {status}");
                }
                let answer = client.get(format!("{base}/health/ready")).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
        process
    }
}

impl Process {
    /// The URL of its API.
    pub(crate) fn base(&self) -> &str {
        self.base.as_deref().expect("a process with an API")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Kills it with SIGKILL and waits until it has ended.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a child process");
    }

    /// Sends a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let (name, id) = (format!("-{name}"), self.id().to_string());
        let sent = Command::new("kill").args([&name, &id]).status().await.expect("kill runs");
        assert!(sent.success(), "the process ended before the signal");
    }

    /// Stops it with SIGTERM and waits until it has ended.
    pub(crate) async fn stop(mut self) -> std::process::ExitStatus {
        self.signal("TERM").await;
        tokio::time::timeout(super::WAIT_TIMEOUT, self.child.wait())
            .await
            .expect("it stops in time")
            .expect("a child process")
    }
}

/// Exit code and output of a command.
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Runs a command of the program to its end, on a database.
pub(crate) async fn run(arguments: &[&str], database_url: &str) -> CommandOutput {
    finished(start(arguments, database_url)).await
}

/// Waits for the end of a command.
pub(crate) async fn finished(child: Child) -> CommandOutput {
    let output =
        tokio::time::timeout(super::WAIT_TIMEOUT, child.wait_with_output()).await.expect("it ends in time");
    let Output { status, stdout, stderr } = output.expect("a child of ours");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    CommandOutput { code: status.code(), output: text(stdout), errors: text(stderr) }
}

/// Starts a command of the program on a database.
pub(crate) fn start(arguments: &[&str], database_url: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("HOOKSENTRY_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().expect("the program starts")
}

impl CommandOutput {
    /// Asserts that the command succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.output, self.errors);
        self
    }

    /// Asserts the exit code, and that the last line of the errors contains `words`.
    #[track_caller]
    pub(crate) fn failed_with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.output, self.errors);
        let last = self.errors.lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "no {word:?} in: {last}");
        }
        self
    }
}
