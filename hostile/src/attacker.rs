//! The attacker: a process of its own that runs while the processors are idle.
//!
//! A real attacker has machines of its own. Here it must share those of the program and of the well-behaved tenant. With
//! `SCHED_IDLE` (sched(7)) it takes processor time that no other process wants, and its work is not part of the tenant's
//! latency. That is true between sessions only without `kernel.sched_autogroup_enabled`.

use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::attacks::Attack;

/// Line of the attacker when it has prepared the attack.
const PREPARED: &str = "prepared";
/// Line that makes it begin.
const BEGIN: &str = "begin\n";
/// Time within which an attack is prepared.
const PREPARED_WITHIN: Duration = Duration::from_secs(120);

/// A prepared attack. Its process ends with it.
#[derive(Debug)]
pub(crate) struct AttackerProcess {
    child: Child,
    stdin: ChildStdin,
}

impl AttackerProcess {
    /// Starts `program`, which is `hooksentry-hostile`, and waits until it has prepared the attack.
    ///
    /// # Errors
    /// The program cannot be started, or cannot prepare the attack.
    pub(crate) async fn prepare(program: &Path, attack: Attack, base: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(program).args(["attack", &attack.to_string(), base]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("chrt, of util-linux, cannot be started")?;
        let stdin = child.stdin.take().context("stdin is a pipe")?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PREPARED_WITHIN, lines.next_line()).await;
        match line.context("the attack is not prepared in time")?? {
            Some(line) if line == PREPARED => Ok(Self { child, stdin }),
            _ => bail!("the attacker ended; its output is above"),
        }
    }

    /// Begins the attack.
    ///
    /// # Errors
    /// The attacker has ended.
    pub(crate) async fn begin(&mut self) -> io::Result<()> {
        self.stdin.write_all(BEGIN.as_bytes()).await?;
        self.stdin.flush().await
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends the attack.
    ///
    /// # Errors
    /// The process cannot be ended.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

/// Attacks the installation at `base`: prepares the attack, says so on stdout, begins when a line arrives on stdin, and
/// ends when stdin is closed.
///
/// # Errors
/// The attack cannot be prepared.
pub async fn run(attack: Attack, base: &str) -> anyhow::Result<()> {
    let attacker = attack.prepare(base).await?;
    writeln!(io::stdout(), "{PREPARED}")?;
    let mut line = String::new();
    let began = spawn_blocking(move || io::stdin().read_line(&mut line)).await??;
    if began == 0 {
        return Ok(());
    }
    let _tasks = attack.begin(&attacker);
    // The one who started this process closes it, also by its death.
    spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    Ok(())
}
