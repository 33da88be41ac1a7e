//! What a tenant feels of its neighbours: some tenants send a little, all the time, and are measured
//! three times: alone, beside a tenant that sends a hundred times as much as each of them, and beside
//! destinations that hang.

use std::time::Duration;

use super::generator::Pace;
use super::setup::Target;
use super::sink::{Behaviour, Gate};
use super::stage::{CostPer, LoadPlan, Stage};

/// Tenants that are measured.
const OTHERS: u32 = 5;
/// Events a second of each, unless the rate is given.
const RATE: f64 = 20.0;
/// How much more the loud tenant sends than each of the others.
const TIMES: f64 = 100.0;
/// Destinations that hang.
const HANGING: usize = 20;
/// Requests at once to each that hangs. Together they exceed what a worker process makes at once, so
/// that a worker which lets itself be filled with them has nothing left for the others.
const HANGING_LIMIT: u32 = 10;
/// Events a second to all that hang.
const HANGING_RATE: f64 = 100.0;
/// A receiver that hangs is let go when its phase is over, if HookSentry did not hang up before.
const HANGS_AT_MOST: Duration = Duration::from_secs(3_600);

pub(super) async fn run(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let options = stage.options;
    let prompt = Behaviour { latency: options.receiver_latency, ..Behaviour::default() };
    let gate = Gate::shut(HANGS_AT_MOST);
    let hangs = Behaviour { gate: Some(gate.clone()), ..Behaviour::default() };

    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.extend(tenant(stage, &prompt, 1, options.destination_limit).await?);
    }
    let loud = tenant(stage, &prompt, 1, options.destination_limit).await?;
    let hanging = tenant(stage, &hangs, HANGING, HANGING_LIMIT).await?;

    let rate = options.rate.unwrap_or(RATE);
    let plan = |name, targets, per_second, may_be_held| LoadPlan {
        name,
        targets,
        pace: Pace::Open { per_second, connections: options.connections },
        duration: options.load_lasts(),
        count: options.load_counts(),
        may_be_held,
    };
    let beside_nobody = [plan("others", &others, rate * f64::from(OTHERS), false)];
    let beside_a_loud_one = [
        plan("others", &others, rate * f64::from(OTHERS), false),
        plan("loud tenant", &loud, rate * TIMES, false),
    ];
    let beside_hanging_ones = [
        plan("others", &others, rate * f64::from(OTHERS), false),
        plan("hanging", &hanging, HANGING_RATE, true),
    ];
    for (name, plans) in [
        ("before", &beside_nobody[..]),
        ("loud", &beside_a_loud_one[..]),
        ("hanging", &beside_hanging_ones[..]),
    ] {
        let mut phase = stage.begin(name, &[]).await?;
        stage.put_on(&mut phase, plans).await?;
        if name == "hanging" {
            gate.open();
        }
        stage.drain(&phase, options.drain).await;
        stage.end(phase, CostPer::Delivered).await?;
    }
    Ok(())
}

/// A tenant with so many destinations.
async fn tenant(
    stage: &Stage<'_>,
    behaviour: &Behaviour,
    destinations: usize,
    limit: u32,
) -> anyhow::Result<Vec<Target>> {
    let account = stage.api.register_tenant().await?;
    let receivers = std::iter::repeat_with(|| stage.sink.add_receiver(behaviour.clone()));
    let urls: Vec<_> = receivers.take(destinations).collect();
    stage.api.create_destinations(&account, &urls, limit).await
}
