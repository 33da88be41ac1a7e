//! The workload `fairness`: how tenants affect each other's latency.
//!
//! Some tenants send at a low, constant rate. Their latency is measured in three phases: alone, with a
//! tenant that sends a hundred times as much as each of them, and with destinations that hang.

use std::time::Duration;

use super::generator::Pace;
use super::setup::Target;
use super::sink::{Behaviour, Gate};
use super::workload_run::{CostPer, LoadPlan, WorkloadRun};

/// Number of tenants whose latency is measured.
const OTHERS: u32 = 5;
/// Events a second of each, unless the options give a rate.
const RATE: f64 = 20.0;
/// How many times as much the loud tenant sends as each of the others.
const LOUD_FACTOR: f64 = 100.0;
/// Number of destinations that hang.
const HANGING: usize = 20;
/// Concurrent requests to each destination that hangs. Together they exceed the concurrency of a worker
/// process, so a worker without fair shares would have no permit left for the others.
const HANGING_LIMIT: u32 = 10;
/// Events a second to all that hang.
const HANGING_RATE: f64 = 100.0;
/// How long a hanging receiver holds a request; its gate is opened when the phase ends.
const HANG_MAX: Duration = Duration::from_secs(3_600);

/// Runs the three phases.
pub(crate) async fn run(run: &mut WorkloadRun<'_>) -> anyhow::Result<()> {
    let options = run.options;
    let prompt = Behaviour { latency: options.receiver_latency, ..Behaviour::default() };
    let gate = Gate::closed(HANG_MAX);
    let hangs = Behaviour { gate: Some(gate.clone()), ..Behaviour::default() };

    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.extend(create_tenant(run, &prompt, 1, options.destination_limit).await?);
    }
    let loud = create_tenant(run, &prompt, 1, options.destination_limit).await?;
    let hanging = create_tenant(run, &hangs, HANGING, HANGING_LIMIT).await?;

    let rate = options.rate.unwrap_or(RATE);
    let plan = |name, targets, per_second, may_be_held| LoadPlan {
        name,
        targets,
        pace: Pace::Open { per_second, connections: options.connections },
        duration: options.load_duration(),
        count: options.load_count(),
        may_be_held,
    };
    let alone = [plan("others", &others, rate * f64::from(OTHERS), false)];
    let with_loud_tenant = [
        plan("others", &others, rate * f64::from(OTHERS), false),
        plan("loud tenant", &loud, rate * LOUD_FACTOR, false),
    ];
    let with_hanging_receivers = [
        plan("others", &others, rate * f64::from(OTHERS), false),
        plan("hanging", &hanging, HANGING_RATE, true),
    ];
    for (name, plans) in
        [("before", &alone[..]), ("loud", &with_loud_tenant[..]), ("hanging", &with_hanging_receivers[..])]
    {
        let mut phase = run.begin_phase(name, &[]).await?;
        run.run_loads(&mut phase, plans).await?;
        if name == "hanging" {
            gate.open();
        }
        run.drain(&phase, options.drain).await;
        run.end_phase(phase, CostPer::Delivered).await?;
    }
    Ok(())
}

/// Registers a tenant with a number of destinations.
async fn create_tenant(
    run: &WorkloadRun<'_>,
    behaviour: &Behaviour,
    destinations: usize,
    limit: u32,
) -> anyhow::Result<Vec<Target>> {
    let tenant = run.api.register_tenant().await?;
    let receivers = std::iter::repeat_with(|| run.sink.add_receiver(behaviour.clone()));
    let urls: Vec<_> = receivers.take(destinations).collect();
    run.api.create_destinations(&tenant, &urls, limit).await
}
