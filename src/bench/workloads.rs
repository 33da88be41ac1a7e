//! What can be run. Each workload makes its own tenants and destinations, and ends with nothing on its
//! way, so that the next one starts on a quiet service.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::generator::Pace;
use super::meters::Meters;
use super::options::{BenchOptions, Workload};
use super::report::Report;
use super::setup::{Api, BenchTenant, Target};
use super::sink::{Behaviour, Gate};
use super::stage::{CostPer, LoadPlan, Stage};

/// Events of a load whose number is not known beforehand, as far as memory is made ready for them.
const EXPECTED: u64 = 250_000;
/// Events on their way in `sustained`: enough to keep everything busy, few enough to be no backlog.
const OUTSTANDING: usize = 2_000;
/// The rates of `latency`.
const RATES: [f64; 2] = [100.0, 500.0];
/// Events of `backlog`.
const BACKLOG: u64 = 100_000;
/// How long `backlog` may take to fill.
const FILLED_WITHIN: Duration = Duration::from_secs(600);
/// How long a shut gate holds a request: far below what an attempt may take.
const HELD_AT_MOST: Duration = Duration::from_secs(10);
/// The least that a drain of a backlog is given: so many events a second, at the slowest.
const DRAINED_PER_SECOND: u64 = 500;

/// Runs a workload.
pub(super) async fn run(
    workload: Workload,
    options: &BenchOptions,
    api: &Api,
    meters: &mut Meters,
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let by_rate = |rate: f64| (rate * options.load_lasts().as_secs_f64()) as u64;
    let expected = options.count.unwrap_or(match workload {
        Workload::Custom => options.rate.map_or(EXPECTED, by_rate),
        Workload::Latency => RATES.into_iter().map(by_rate).sum(),
        Workload::Backlog => BACKLOG,
        Workload::Sustained | Workload::AcceptOnly | Workload::Fairness => EXPECTED,
    });
    let outstanding = options.outstanding.unwrap_or(match workload {
        Workload::Sustained => OUTSTANDING,
        _ => 0,
    });
    let mut stage = Stage::set(workload, options, api, meters, stop.clone(), expected, outstanding).await?;
    match workload {
        Workload::Custom | Workload::Sustained => plain(&mut stage, options.rate.as_slice()).await?,
        Workload::Latency => plain(&mut stage, &RATES).await?,
        Workload::AcceptOnly => {
            held_back(&mut stage, options.load_lasts(), options.load_counts()).await?;
        }
        Workload::Backlog => {
            let count = options.count.unwrap_or(BACKLOG);
            held_back(&mut stage, options.duration.unwrap_or(FILLED_WITHIN), count).await?;
        }
        Workload::Fairness => super::fairness::run(&mut stage).await?,
    }
    Ok(stage.finish())
}

/// A load of all tenants together at each of the rates, or one closed loop if there are none.
async fn plain(stage: &mut Stage<'_>, rates: &[f64]) -> anyhow::Result<()> {
    let options = stage.options;
    let behaviour = Behaviour {
        latency: options.receiver_latency,
        failure_rate: options.receiver_failure_rate,
        gate: None,
    };
    let targets = targets(stage, &behaviour, options.destination_limit).await?.1;
    let connections = options.connections;
    let mut paces: Vec<Pace> =
        rates.iter().map(|per_second| Pace::Open { per_second: *per_second, connections }).collect();
    if paces.is_empty() {
        paces.push(Pace::Closed { connections });
    }
    for pace in paces {
        let name = match pace {
            Pace::Closed { .. } => "load".to_owned(),
            Pace::Open { per_second, .. } => format!("{per_second}/s"),
        };
        let mut phase = stage.begin(&name, &[]).await?;
        let plan = LoadPlan {
            name: "events",
            targets: &targets,
            pace,
            duration: options.load_lasts(),
            count: options.load_counts(),
            may_be_held: false,
        };
        stage.put_on(&mut phase, &[plan]).await?;
        stage.drain(&phase, options.drain).await;
        stage.end(phase, CostPer::Delivered).await?;
    }
    Ok(())
}

/// A closed loop while a gate holds deliveries back, then the gate is opened and nothing more is sent.
///
/// The destinations take one request at once, and their receiver holds each for seconds: deliveries all
/// but stop, without a failed attempt and without a suspended destination, whatever the HookSentry's
/// roles and settings.
async fn held_back(stage: &mut Stage<'_>, duration: Duration, count: u64) -> anyhow::Result<()> {
    let options = stage.options;
    let gate = Gate::shut(HELD_AT_MOST);
    let behaviour = Behaviour {
        latency: options.receiver_latency,
        failure_rate: options.receiver_failure_rate,
        gate: Some(gate.clone()),
    };
    let (accounts, targets) = targets(stage, &behaviour, 1).await?;

    let mut filling = stage.begin("accept", &[]).await?;
    let plan = LoadPlan {
        name: "events",
        targets: &targets,
        pace: Pace::Closed { connections: options.connections },
        duration,
        count,
        may_be_held: false,
    };
    let loads = stage.put_on(&mut filling, &[plan]).await?;
    stage.end(filling, CostPer::Accepted).await?;

    for (account, targets) in accounts.iter().zip(targets.chunks(options.destinations)) {
        stage.api.set_limit(account, targets, options.destination_limit).await?;
    }
    let emptying = stage.begin("deliver", &loads).await?;
    gate.open();
    let at_the_slowest = Duration::from_secs(stage.undelivered() / DRAINED_PER_SECOND);
    stage.drain(&emptying, options.drain + at_the_slowest).await;
    stage.end(emptying, CostPer::Delivered).await
}

/// As many tenants and destinations as the options say, all with receivers of this behaviour.
async fn targets(
    stage: &Stage<'_>,
    behaviour: &Behaviour,
    limit: u32,
) -> anyhow::Result<(Vec<BenchTenant>, Vec<Target>)> {
    let mut accounts = Vec::new();
    let mut targets = Vec::new();
    for _ in 0..stage.options.tenants {
        let account = stage.api.register_tenant().await?;
        let receivers = std::iter::repeat_with(|| stage.sink.add_receiver(behaviour.clone()));
        let urls: Vec<_> = receivers.take(stage.options.destinations).collect();
        targets.extend(stage.api.create_destinations(&account, &urls, limit).await?);
        accounts.push(account);
    }
    Ok((accounts, targets))
}
