//! What a workload plays on: the API, a ledger, a sink, and the meters that are read around each phase.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::generator::{self, Load, Pace};
use super::ingest_request::IngestRequests;
use super::ledger::{Ledger, LoadId};
use super::meters::{Meters, Reading};
use super::options::{BenchOptions, Workload};
use super::progress::Progress;
use super::report::{Cost, LoadReport, LoadShare, PhaseReport, Report};
use super::setup::{Api, Target};
use super::sink::Sink;
use super::timeline::Window;
use crate::identifiers;

/// How often it is looked whether everything has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the progress is shown anew.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// The stage of one workload.
pub(super) struct Stage<'a> {
    pub(super) options: &'a BenchOptions,
    pub(super) api: &'a Api,
    pub(super) sink: Sink,
    workload: Workload,
    ledger: Arc<Ledger>,
    meters: &'a mut Meters,
    stop: CancellationToken,
    phases: Vec<PhaseReport>,
}

/// A load before it is put on.
pub(super) struct LoadPlan<'a> {
    pub(super) name: &'a str,
    pub(super) targets: &'a [Target],
    pub(super) pace: Pace,
    pub(super) duration: Duration,
    pub(super) count: u64,
    /// Whether some of its events may rightly not arrive for a long time.
    pub(super) may_be_held: bool,
}

/// A phase that goes on.
pub(super) struct Phase {
    name: String,
    before: Reading,
    begin_us: u64,
    load_end_us: Option<u64>,
    loads: Vec<PhaseLoad>,
}

struct PhaseLoad {
    id: LoadId,
    pace: String,
    sent_here: bool,
    delivered_before: u64,
}

/// The events among which the cost of a phase is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CostPer {
    /// Those that were accepted in it; deliveries are held back.
    Accepted,
    /// Those that were delivered in it.
    Delivered,
}

impl<'a> Stage<'a> {
    /// Sets the stage. `expected` is about how many events there will be.
    pub(super) async fn set(
        workload: Workload,
        options: &'a BenchOptions,
        api: &'a Api,
        meters: &'a mut Meters,
        stop: CancellationToken,
        expected: u64,
        outstanding: usize,
    ) -> anyhow::Result<Self> {
        let ledger = Arc::new(Ledger::open(expected, outstanding));
        let url = options.sink_url.as_ref().map(url::Url::as_str);
        let sink = Sink::listen(options.sink, url, Arc::clone(&ledger))
            .await
            .with_context(|| format!("the receiver cannot listen at {}", options.sink))?;
        Ok(Self { options, api, sink, workload, ledger, meters, stop, phases: Vec::new() })
    }

    /// Begins a phase. Loads of an earlier one may go on being delivered in it.
    pub(super) async fn begin(&mut self, name: &str, going_on: &[LoadId]) -> anyhow::Result<Phase> {
        let before = self.meters.before().await?;
        let continued = |id: &LoadId| PhaseLoad {
            id: *id,
            pace: "sent before".to_owned(),
            sent_here: false,
            delivered_before: self.ledger.tally(*id).delivered.total(),
        };
        Ok(Phase {
            name: name.to_owned(),
            before,
            loads: going_on.iter().map(continued).collect(),
            begin_us: self.ledger.now(),
            load_end_us: None,
        })
    }

    /// Puts loads on, all at once, and waits until the last of them is over.
    pub(super) async fn put_on(
        &self,
        phase: &mut Phase,
        plans: &[LoadPlan<'_>],
    ) -> anyhow::Result<Vec<LoadId>> {
        let run = identifiers::new_id().simple().to_string();
        let key_prefix = self.options.idempotency_keys.then_some(run.as_str());
        let mut ids = Vec::with_capacity(plans.len());
        let mut loads = Vec::with_capacity(plans.len());
        for plan in plans {
            let id = self.ledger.add_load(plan.name, plan.may_be_held);
            ids.push(id);
            phase.loads.push(PhaseLoad {
                id,
                pace: plan.pace.to_string(),
                sent_here: true,
                delivered_before: 0,
            });
            let mix = &self.options.payload_bytes;
            // Keys are unique within a tenant, and a load may share its tenant with another.
            let prefix = key_prefix.map(|run| format!("{run}-{}", ids.len()));
            let requests = IngestRequests::render(&self.api.host, plan.targets, mix, prefix.as_deref());
            loads.push(Load { id, requests, pace: plan.pace, duration: plan.duration, count: plan.count });
        }
        let longest = plans.iter().map(|plan| plan.duration).max().unwrap_or_default();
        let progress = Progress::of_load(&format!("{} {}", self.workload, phase.name), longest);
        let loads =
            loads.into_iter().map(|load| generator::run(load, self.api.address, &self.ledger, &self.stop));
        tokio::select! {
            done = try_join_all(loads) => { done?; }
            never = self.show(&progress) => match never {},
        }
        phase.load_end_us = Some(self.ledger.now());
        Ok(ids)
    }

    /// How many accepted events are not delivered yet.
    pub(super) fn undelivered(&self) -> u64 {
        self.ledger.undelivered()
    }

    /// Waits until everything that was accepted is delivered, but not for ever.
    pub(super) async fn drain(&self, phase: &Phase, at_most: Duration) {
        let waiting = self.ledger.undelivered();
        let progress = Progress::of_drain(&format!("{} {}", self.workload, phase.name), waiting);
        let drained = async {
            let deadline = Instant::now() + at_most;
            while self.ledger.undelivered() > 0 && Instant::now() < deadline {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = self.stop.cancelled() => {}
            never = self.show(&progress) => match never {},
        }
    }

    /// Ends a phase and keeps what it found out.
    pub(super) async fn end(&mut self, phase: Phase, cost_per: CostPer) -> anyhow::Result<()> {
        let end_us = self.ledger.now();
        let to_last_delivery = Window { start_us: phase.begin_us, end_us };
        let window = Window { end_us: phase.load_end_us.unwrap_or(end_us), ..to_last_delivery };
        let after = self.meters.after().await?;
        let report = |load: PhaseLoad| {
            let share = LoadShare {
                tally: self.ledger.tally(load.id),
                pace: load.pace,
                sent_here: load.sent_here,
                delivered_here: cost_per == CostPer::Delivered,
                delivered_before: load.delivered_before,
            };
            LoadReport::of(share, window, to_last_delivery)
        };
        let loads: Vec<_> = phase.loads.into_iter().map(report).collect();
        let events = loads.iter().map(|load| match cost_per {
            CostPer::Accepted => load.accepted,
            CostPer::Delivered => load.delivered,
        });
        let cost = Cost::between(&phase.before, &after, events.sum());
        self.phases.push(PhaseReport {
            name: phase.name,
            seconds: window.seconds(),
            seconds_to_last_delivery: to_last_delivery.seconds(),
            loads,
            cost,
        });
        Ok(())
    }

    /// Balances the books.
    pub(super) fn finish(self) -> Report {
        Report {
            workload: self.workload,
            phases: self.phases,
            reconciliation: self.ledger.reconcile(),
            interrupted: self.stop.is_cancelled(),
        }
    }

    async fn show(&self, progress: &Progress) -> Infallible {
        let mut last = (Instant::now(), self.ledger.totals());
        loop {
            sleep(SHOW_EVERY).await;
            let now = (Instant::now(), self.ledger.totals());
            let seconds = (now.0 - last.0).as_secs_f64();
            let per_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
            progress.show(
                per_second(now.1.0, last.1.0),
                per_second(now.1.1, last.1.1),
                self.ledger.undelivered(),
            );
            last = now;
        }
    }
}
