//! One attack on an installation of its own.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::attacks::Attack;
use crate::installation::Installation;
use crate::neighbour::Neighbour;
use crate::report::Effect;

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
    let attacker = attack.prepare(installation.base()).await?;
    neighbour.send_for(options.warm_up).await?;
    let before = neighbour.send_for(options.duration / 2).await?;
    let tasks = attack.begin(&attacker);
    sleep(ATTACK_GROWS).await;
    let during = neighbour.send_for(options.duration).await?;
    let refusals = match attack.refusals() {
        Some(metric) => Some(installation.sum_of(metric).await?),
        None => None,
    };
    drop(tasks);
    let after = neighbour.send_for(options.duration / 2).await?;
    installation.stop();
    Ok(Effect { attack, before, during, after, refusals })
}
