//! One process of HookSentry, which is killed, paused and started again.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use private_servers::GuardedProcess;
use tokio::time::{Instant, sleep};

use super::{InstallationOptions, Links, PROCESSES};

/// Time within which a process must be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Ports of processes. They are below the range from which outgoing connections take theirs, so that a port stays
/// free while its process does not run.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Library that gives a process a clock of its own, in Debian's package `libfaketime`.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// One process of HookSentry.
pub(crate) struct ServedProcess {
    name: &'static str,
    roles: &'static str,
    port: u16,
    program: PathBuf,
    folder: PathBuf,
    logs: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// How often it was started.
    starts: u32,
    running: Option<GuardedProcess>,
}

impl ServedProcess {
    pub(super) fn new(number: usize, links: &Links, options: &InstallationOptions) -> Self {
        let (name, roles) = PROCESSES[number];
        let mut environment = environment(options);
        environment.push(("DATABASE_URL", links.database_url()));
        environment.push(("AMQP_URL", links.amqp_url()));
        Self {
            name,
            roles,
            port: free_port(),
            program: options.program.clone(),
            folder: options.folder.clone(),
            logs: options.logs.clone(),
            environment,
            starts: 0,
            running: None,
        }
    }

    /// The URL of its API.
    #[must_use]
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, with the right time and a log file of its own.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.logs).context("no folder for logs")?;
        self.starts += 1;
        let mut command = GuardedProcess::command_of_current_user("KILL", &self.program);
        command
            .args(["serve", "--roles", self.roles, "--listen", &format!("127.0.0.1:{}", self.port)])
            .envs(self.environment.iter().map(|(name, value)| (*name, value)));
        if let Some(library) = faketime() {
            self.set_clock(0)?;
            command.env("LD_PRELOAD", library).envs(self.clock_environment());
        }
        let log = self.logs.join(format!("{}.{}.log", self.name, self.starts));
        let running = GuardedProcess::spawn(command, log).await;
        self.running = Some(running.with_context(|| format!("{} cannot be started", self.name))?);
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It is not ready within a minute.
    pub(crate) async fn until_ready(&self) -> anyhow::Result<()> {
        let client = hooksentry_client::http_client().timeout(HEALTH_TIMEOUT).build()?;
        let url = format!("{}/health/ready", self.base());
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("{} is not ready after {READY_WITHIN:?}; its log is in {}", self.name, self.logs.display())
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Returns whether it ended without having been killed.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_some_and(GuardedProcess::has_ended)
    }

    /// The name, with the number of its log file.
    #[must_use]
    pub(crate) fn log_name(&self) -> String {
        format!("{}.{}", self.name, self.starts)
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(running) = &self.running {
            running.signal(name);
        }
    }

    /// Sets its clock to this many seconds from the right time, until it is started again. It notices within a
    /// second.
    ///
    /// # Errors
    /// The file with the time cannot be written.
    pub(crate) fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        let file = self.clock_file();
        fs::write(&file, format!("{seconds:+}\n")).with_context(|| format!("{} not written", file.display()))
    }

    fn clock_file(&self) -> PathBuf {
        self.folder.join(format!("{}.clock", self.name))
    }

    fn clock_environment(&self) -> [(&'static str, String); 4] {
        [
            ("FAKETIME_TIMESTAMP_FILE", self.clock_file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            // A monotonic clock is not set, whatever happens to the time of day. // words: keep
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // A shared memory object would stay behind when the process is killed.
            ("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ]
    }
}

/// Returns whether the clock of one process can be set.
#[must_use]
pub(crate) fn has_clocks() -> bool {
    faketime().is_some()
}

/// Returns the library that gives a process a clock of its own; `None` if it is not installed.
fn faketime() -> Option<&'static Path> {
    FAKETIME.iter().map(Path::new).find(|library| library.is_file())
}

/// Returns the settings that all processes have in common.
pub(super) fn environment(options: &InstallationOptions) -> Vec<(&'static str, String)> {
    let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
    vec![
        ("HOOKSENTRY_JWT_KEY", "chaos:a-key-of-at-least-32-bytes-for-a-test".to_owned()),
        ("HOOKSENTRY_ENCRYPTION_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned()),
        ("HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS", "true".to_owned()),
        ("HOOKSENTRY_TENANT_CREATIONS_PER_HOUR", "0".to_owned()),
        ("HOOKSENTRY_PASSWORD_MEMORY_KIB", "64".to_owned()),
        ("HOOKSENTRY_PASSWORD_PASSES", "1".to_owned()),
        ("HOOKSENTRY_LOG", "warn,hooksentry=info".to_owned()),
        ("HOOKSENTRY_DELIVERY_TIMEOUT", milliseconds(options.delivery_timeout)),
        ("HOOKSENTRY_VANISHED_MARGIN", milliseconds(options.vanished_margin)),
        ("HOOKSENTRY_QUEUE_TYPE", options.queue_type().to_owned()),
        ("HOOKSENTRY_REPUBLISH_AFTER", "5s".to_owned()),
        ("HOOKSENTRY_RETRY_BASE", "500ms".to_owned()),
        ("HOOKSENTRY_RETRY_FACTOR", "2".to_owned()),
        ("HOOKSENTRY_RETRY_CAP", "5s".to_owned()),
        ("HOOKSENTRY_DATABASE_CONNECTIONS", "10".to_owned()),
    ]
}

fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
