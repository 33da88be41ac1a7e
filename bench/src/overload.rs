//! The workload `overload`: what is delivered while more is offered than can be, and how soon it is over.

use super::generator::Pace;
use super::workload_run::WorkloadRun;
use super::workloads::{receivers, run_pace, targets};

/// How many times the best rate is offered.
const FACTORS: [f64; 2] = [2.0, 5.0];
/// Connections of the open loops, unless the options ask for more: many sources that wait for their answers.
const CONNECTIONS: usize = 1_000;
/// Events a second after the overload.
const RATE_AFTER: f64 = 500.0;

/// Measures the best rate, and offers a multiple of it.
pub(crate) async fn run(run: &mut WorkloadRun<'_>) -> anyhow::Result<()> {
    let options = run.options;
    let (behaviour, limit) = (receivers(options), options.destination_limit);
    let targets = targets(run, &behaviour, options.destinations, limit).await?.1;
    let closed = Pace::Closed { connections: options.connections };
    run_pace(run, "as much as is accepted", &targets, closed).await?;
    let load = run.last_phase().and_then(|phase| phase.loads.first());
    let best = load.map_or(0.0, |load| load.delivered_per_second);
    let connections = options.connections.max(CONNECTIONS);
    for factor in FACTORS {
        let pace = Pace::Open { per_second: (best * factor).max(1.0), connections };
        run_pace(run, &format!("{factor} times as much"), &targets, pace).await?;
    }
    let pace = Pace::Open { per_second: RATE_AFTER, connections: options.connections };
    run_pace(run, &format!("{RATE_AFTER}/s afterwards"), &targets, pace).await
}
