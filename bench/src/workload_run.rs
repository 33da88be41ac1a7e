//! One run of a workload: its phases, each with loads, a drain, and readings of the meters before and after.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::event_tracker::{EventTracker, LoadId};
use super::generator::{self, Load, Pace};
use super::ingest_request::IngestRequests;
use super::meters::{Meters, Reading};
use super::options::{BenchOptions, Workload};
use super::progress::Progress;
use super::rate_series::Window;
use super::report::{Cost, LoadReport, LoadShare, PhaseReport, Report};
use super::setup::{Api, Target};
use super::sink::Sink;

/// Interval between checks whether all events have arrived.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Interval between updates of the progress bar.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Run of one workload.
pub(crate) struct WorkloadRun<'a> {
    pub(crate) options: &'a BenchOptions,
    pub(crate) api: &'a Api,
    pub(crate) sink: Sink,
    workload: Workload,
    tracker: Arc<EventTracker>,
    meters: &'a mut Meters,
    stop: CancellationToken,
    phases: Vec<PhaseReport>,
}

/// Load to be run.
pub(crate) struct LoadPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) targets: &'a [Target],
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    pub(crate) count: u64,
    /// Whether its events may be held back by hanging receivers, so that they do not count as missing.
    pub(crate) may_be_held: bool,
}

/// Phase in progress.
pub(crate) struct Phase {
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

/// Events by which the cost of a phase is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CostPer {
    /// Events accepted in the phase, while deliveries are held back.
    Accepted,
    /// Events delivered in the phase.
    Delivered,
}

impl<'a> WorkloadRun<'a> {
    /// Starts the receiver. `expected` is the approximate number of events, and `outstanding` the number of
    /// events that may be undelivered at a time, or 0 for no limit.
    pub(crate) async fn start(
        workload: Workload,
        options: &'a BenchOptions,
        api: &'a Api,
        meters: &'a mut Meters,
        stop: CancellationToken,
        expected: u64,
        outstanding: usize,
    ) -> anyhow::Result<Self> {
        let tracker = Arc::new(EventTracker::new(expected, outstanding));
        let url = options.sink_url.as_ref().map(url::Url::as_str);
        let sink = Sink::listen(options.sink, url, Arc::clone(&tracker))
            .await
            .with_context(|| format!("the receiver cannot listen at {}", options.sink))?;
        Ok(Self { options, api, sink, workload, tracker, meters, stop, phases: Vec::new() })
    }

    /// Begins a phase, in which `earlier_loads` of another phase are still being delivered.
    pub(crate) async fn begin_phase(
        &mut self,
        name: &str,
        earlier_loads: &[LoadId],
    ) -> anyhow::Result<Phase> {
        let before = self.meters.before().await?;
        let continued = |id: &LoadId| PhaseLoad {
            id: *id,
            pace: "sent before".to_owned(),
            sent_here: false,
            delivered_before: self.tracker.stats(*id).delivered.total(),
        };
        Ok(Phase {
            name: name.to_owned(),
            before,
            loads: earlier_loads.iter().map(continued).collect(),
            begin_us: self.tracker.now(),
            load_end_us: None,
        })
    }

    /// Runs loads concurrently until the last of them ends.
    pub(crate) async fn run_loads(
        &self,
        phase: &mut Phase,
        plans: &[LoadPlan<'_>],
    ) -> anyhow::Result<Vec<LoadId>> {
        let key_prefix = format!("{:032x}", rand::random::<u128>());
        let key_prefix = self.options.idempotency_keys.then_some(key_prefix);
        let mut ids = Vec::with_capacity(plans.len());
        let mut loads = Vec::with_capacity(plans.len());
        for plan in plans {
            let id = self.tracker.add_load(plan.name, plan.may_be_held);
            ids.push(id);
            let pace = plan.pace.to_string();
            phase.loads.push(PhaseLoad { id, pace, sent_here: true, delivered_before: 0 });
            // Keys are unique within a tenant, and two loads may send to the same tenant.
            let prefix = key_prefix.as_ref().map(|prefix| format!("{prefix}-{}", ids.len()));
            let mix = &self.options.payload_bytes;
            let requests = IngestRequests::render(&self.api.host, plan.targets, mix, prefix.as_deref());
            loads.push(Load { id, requests, pace: plan.pace, duration: plan.duration, count: plan.count });
        }
        let longest = plans.iter().map(|plan| plan.duration).max().unwrap_or_default();
        let progress = Progress::of_load(&format!("{} {}", self.workload, phase.name), longest);
        let loads =
            loads.into_iter().map(|load| generator::run(load, self.api.address, &self.tracker, &self.stop));
        tokio::select! {
            done = try_join_all(loads) => { done?; }
            never = self.show(&progress) => match never {},
        }
        phase.load_end_us = Some(self.tracker.now());
        Ok(ids)
    }

    /// Counts the accepted events that are not delivered yet.
    pub(crate) fn undelivered(&self) -> u64 {
        self.tracker.undelivered()
    }

    /// Waits until all accepted events are delivered or the timeout elapses.
    pub(crate) async fn drain(&self, phase: &Phase, timeout: Duration) {
        let waiting = self.tracker.undelivered();
        let progress = Progress::of_drain(&format!("{} {}", self.workload, phase.name), waiting);
        let drained = async {
            let deadline = Instant::now() + timeout;
            while self.tracker.undelivered() > 0 && Instant::now() < deadline {
                sleep(DRAIN_POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = self.stop.cancelled() => {}
            never = self.show(&progress) => match never {},
        }
    }

    /// Ends a phase that is not reported, when its statistics are complete.
    pub(crate) async fn discard_phase(&mut self, _phase: Phase) -> anyhow::Result<()> {
        self.meters.after().await?;
        Ok(())
    }

    /// Ends a phase and stores its report.
    pub(crate) async fn end_phase(&mut self, phase: Phase, cost_per: CostPer) -> anyhow::Result<()> {
        let end_us = self.tracker.now();
        let to_last_delivery = Window { start_us: phase.begin_us, end_us };
        let window = Window { end_us: phase.load_end_us.unwrap_or(end_us), ..to_last_delivery };
        let after = self.meters.after().await?;
        let report = |load: PhaseLoad| {
            let share = LoadShare {
                stats: self.tracker.stats(load.id),
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

    /// Returns the report of the phase that ended last.
    pub(crate) fn last_phase(&self) -> Option<&PhaseReport> {
        self.phases.last()
    }

    /// Ends the run and returns its report.
    pub(crate) fn finish(self) -> Report {
        Report {
            workload: self.workload,
            phases: self.phases,
            reconciliation: self.tracker.reconcile(),
            interrupted: self.stop.is_cancelled(),
        }
    }

    async fn show(&self, progress: &Progress) -> Infallible {
        let mut last = (Instant::now(), self.tracker.totals());
        loop {
            sleep(PROGRESS_INTERVAL).await;
            let now = (Instant::now(), self.tracker.totals());
            let seconds = (now.0 - last.0).as_secs_f64();
            let per_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
            progress.show(
                per_second(now.1.0, last.1.0),
                per_second(now.1.1, last.1.1),
                self.tracker.undelivered(),
            );
            last = now;
        }
    }
}
