//! One attack on an installation of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::attacker::AttackerProcess;
use crate::attacks::Attack;
use crate::installation::Installation;
use crate::neighbour::Neighbour;
use crate::processor_time;
use crate::report::{Effect, Processors};

/// Time for which an attack goes on before anything is measured.
const ATTACK_GROWS: Duration = Duration::from_secs(2);

/// How attacks are run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Time in which caches and connections get warm, before anything is measured.
    pub warm_up: Duration,
    /// Duration of an attack, and twice the time before and after it.
    pub duration: Duration,
    /// The program under test.
    pub program: PathBuf,
    /// `hooksentry-hostile`.
    pub attacker: PathBuf,
    /// URL of a PostgreSQL server in which databases may be created.
    pub database_url: String,
}

/// Attacks an installation, and measures a well-behaved tenant before, during and after it.
///
/// # Errors
/// The installation cannot be started, or it refuses what precedes the attack.
pub async fn measure(attack: Attack, options: &RunOptions) -> anyhow::Result<Effect> {
    let installation = Installation::start(&options.program, &options.database_url).await?;
    let neighbour = Neighbour::register(installation.base()).await?;
    let mut attacker = AttackerProcess::prepare(&options.attacker, attack, installation.base()).await?;
    neighbour.send_for(options.warm_up).await?;
    let before = neighbour.send_for(options.duration / 2).await?;
    attacker.begin().await?;
    sleep(ATTACK_GROWS).await;
    let used = || {
        let of = |process_id: Option<u32>| process_id.and_then(processor_time::of).unwrap_or_default();
        (of(Some(installation.process_id())), of(attacker.process_id()))
    };
    let (begun, used_before) = (Instant::now(), used());
    let during = neighbour.send_for(options.duration).await?;
    let (seconds, used_after) = (begun.elapsed().as_secs_f64(), used());
    let processors = Processors {
        program: (used_after.0 - used_before.0) / seconds,
        attacker: (used_after.1 - used_before.1) / seconds,
    };
    let refusals = match attack.refusals() {
        Some(metric) => Some(installation.sum_of(metric).await?),
        None => None,
    };
    attacker.stop().await?;
    let after = neighbour.send_for(options.duration / 2).await?;
    installation.stop();
    Ok(Effect { attack, before, during, after, processors, refusals })
}
