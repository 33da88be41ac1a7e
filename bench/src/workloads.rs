//! The workloads. Each creates its own tenants and destinations, and drains before it ends, so that the
//! next one starts on an idle service.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::generator::Pace;
use super::meters::Meters;
use super::options::{BenchOptions, Workload};
use super::report::Report;
use super::setup::{Api, BenchTenant, Target};
use super::sink::{Behaviour, Gate};
use super::workload_run::{CostPer, LoadPlan, WorkloadRun};

/// Events for which memory is reserved when the number is not known in advance.
const EXPECTED: u64 = 250_000;
/// Undelivered events in `sustained`: enough to keep the service busy, too few to form a backlog.
const OUTSTANDING: usize = 2_000;
/// Events a second in the phases of `latency`.
const RATES: [f64; 4] = [100.0, 500.0, 1_000.0, 2_000.0];
/// Connections in the first phase of `sustained`: as few as a source with moderate traffic has.
const FEW_CONNECTIONS: usize = 16;
/// Numbers of destinations in the phases of `destinations`.
const DESTINATIONS: [usize; 2] = [1, 1_000];
/// Events of `backlog`, unless the options say otherwise.
const BACKLOG: u64 = 100_000;
/// Timeout of the sending in `backlog`.
const FILL_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a closed gate holds a request: far below the timeout of an attempt.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// Slowest rate that the deadline of a backlog's drain allows for, in events a second.
const DRAIN_RATE_MIN: u64 = 500;

/// Runs a workload.
pub(crate) async fn run(
    workload: Workload,
    options: &BenchOptions,
    api: &Api,
    meters: &mut Meters,
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let by_rate = |rate: f64| (rate * options.load_duration().as_secs_f64()) as u64;
    let expected = options.count.unwrap_or(match workload {
        Workload::Custom => options.rate.map_or(EXPECTED, by_rate),
        Workload::Latency => RATES.into_iter().map(by_rate).sum(),
        Workload::Backlog => BACKLOG,
        Workload::Sustained
        | Workload::Destinations
        | Workload::Overload
        | Workload::AcceptOnly
        | Workload::Fairness => EXPECTED,
    });
    let outstanding = options.outstanding.unwrap_or(match workload {
        Workload::Sustained | Workload::Destinations => OUTSTANDING,
        _ => 0,
    });
    let mut run =
        WorkloadRun::start(workload, options, api, meters, stop.clone(), expected, outstanding).await?;
    let connections = options.connections;
    match workload {
        Workload::Custom => {
            let pace = options.rate.map_or(closed(connections), |per_second| open(per_second, connections));
            run_paces(&mut run, &[pace]).await?;
        }
        Workload::Latency => {
            run_paces(&mut run, &RATES.map(|rate| open(rate, connections))).await?;
        }
        Workload::Sustained => {
            run_paces(&mut run, &[FEW_CONNECTIONS, connections].map(closed)).await?;
        }
        Workload::Destinations => {
            let (behaviour, limit) = (receivers(options), options.destination_limit);
            for destinations in DESTINATIONS {
                let targets = targets(&run, &behaviour, destinations, limit).await?.1;
                reach_each(&mut run, &targets).await?;
                run_pace(&mut run, &format!("to {destinations}"), &targets, closed(connections)).await?;
            }
        }
        Workload::Overload => super::overload::run(&mut run).await?,
        Workload::AcceptOnly => {
            run_held_back(&mut run, options.load_duration(), options.load_count()).await?;
        }
        Workload::Backlog => {
            let count = options.count.unwrap_or(BACKLOG);
            run_held_back(&mut run, options.duration.unwrap_or(FILL_TIMEOUT), count).await?;
        }
        Workload::Fairness => super::fairness::run(&mut run).await?,
    }
    Ok(run.finish())
}

fn closed(connections: usize) -> Pace {
    Pace::Closed { connections }
}

fn open(per_second: f64, connections: usize) -> Pace {
    Pace::Open { per_second, connections }
}

/// Runs one load of all tenants for each pace.
async fn run_paces(run: &mut WorkloadRun<'_>, paces: &[Pace]) -> anyhow::Result<()> {
    let options = run.options;
    let (behaviour, limit) = (receivers(options), options.destination_limit);
    let targets = targets(run, &behaviour, options.destinations, limit).await?.1;
    for pace in paces {
        let name = match pace {
            Pace::Closed { connections } => format!("{connections} connections"),
            Pace::Open { per_second, .. } => format!("{per_second}/s"),
        };
        run_pace(run, &name, &targets, *pace).await?;
    }
    Ok(())
}

/// Runs one load, and waits until everything is delivered.
pub(crate) async fn run_pace(
    run: &mut WorkloadRun<'_>,
    name: &str,
    targets: &[Target],
    pace: Pace,
) -> anyhow::Result<()> {
    let options = run.options;
    let mut phase = run.begin_phase(name, &[]).await?;
    let plan = LoadPlan {
        name: "events",
        targets,
        pace,
        duration: options.load_duration(),
        count: options.load_count(),
        may_be_held: false,
    };
    run.run_loads(&mut phase, &[plan]).await?;
    run.drain(&phase, options.drain).await;
    run.end_phase(phase, CostPer::Delivered).await
}

/// Delivers an event to each destination before anything is measured. The first one needs settings and keys that the service
/// keeps in memory afterwards, which would be a good part of a short load to many destinations.
async fn reach_each(run: &mut WorkloadRun<'_>, targets: &[Target]) -> anyhow::Result<()> {
    let options = run.options;
    let mut phase = run.begin_phase("first", &[]).await?;
    let plan = LoadPlan {
        name: "first events",
        targets,
        pace: closed(options.connections),
        duration: options.load_duration(),
        count: targets.len() as u64,
        may_be_held: false,
    };
    run.run_loads(&mut phase, &[plan]).await?;
    run.drain(&phase, options.drain).await;
    run.discard_phase(phase).await
}

/// Returns the behaviour of receivers that the options ask for.
pub(crate) fn receivers(options: &BenchOptions) -> Behaviour {
    Behaviour { latency: options.receiver_latency, failure_rate: options.receiver_failure_rate, gate: None }
}

/// Runs a closed loop while a gate holds deliveries back, then opens the gate and sends nothing more.
///
/// The destinations take one request at a time, and their receiver holds each for seconds. So deliveries
/// nearly stop without a failed attempt and without a suspended destination, independently of the roles and
/// settings of the service.
async fn run_held_back(run: &mut WorkloadRun<'_>, duration: Duration, count: u64) -> anyhow::Result<()> {
    let options = run.options;
    let gate = Gate::closed(HOLD_MAX);
    let behaviour = Behaviour { gate: Some(gate.clone()), ..receivers(options) };
    let (tenants, targets) = targets(run, &behaviour, options.destinations, 1).await?;

    let mut filling = run.begin_phase("accept", &[]).await?;
    let plan = LoadPlan {
        name: "events",
        targets: &targets,
        pace: Pace::Closed { connections: options.connections },
        duration,
        count,
        may_be_held: false,
    };
    let loads = run.run_loads(&mut filling, &[plan]).await?;
    run.end_phase(filling, CostPer::Accepted).await?;

    for (tenant, targets) in tenants.iter().zip(targets.chunks(options.destinations)) {
        run.api.set_limit(tenant, targets, options.destination_limit).await?;
    }
    let emptying = run.begin_phase("deliver", &loads).await?;
    gate.open();
    let slowest = Duration::from_secs(run.undelivered() / DRAIN_RATE_MIN);
    run.drain(&emptying, options.drain + slowest).await;
    run.end_phase(emptying, CostPer::Delivered).await
}

/// Creates the tenants that the options ask for, each with so many destinations, with receivers of this behaviour.
pub(crate) async fn targets(
    run: &WorkloadRun<'_>,
    behaviour: &Behaviour,
    destinations: usize,
    limit: u32,
) -> anyhow::Result<(Vec<BenchTenant>, Vec<Target>)> {
    let mut tenants = Vec::new();
    let mut targets = Vec::new();
    for _ in 0..run.options.tenants {
        let tenant = run.api.register_tenant().await?;
        let receivers = std::iter::repeat_with(|| run.sink.add_receiver(behaviour.clone()));
        let urls: Vec<_> = receivers.take(destinations).collect();
        targets.extend(run.api.create_destinations(&tenant, &urls, limit).await?);
        tenants.push(tenant);
    }
    Ok((tenants, targets))
}
