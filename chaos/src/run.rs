//! One run: starts the installation and the load, injects the plan's faults, and collects the history.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use private_servers::TemporaryFolder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::faults::{ActiveFault, FaultKind, Injector, Plan, PlanSize, Step};
use crate::history::{Behaviour, FaultSpan, History, RunTime};
use crate::installation::{Installation, InstallationOptions, PROCESSES, has_clocks};
use crate::load::Load;
use crate::log;
use crate::receivers::Receivers;
use crate::recorder::Recorder;
use crate::tenants::{Tenants, behaviours};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time after a step within which all healthy destinations must get requests again before the next step begins
/// anyway.
const RECOVERY_WITHIN: Duration = Duration::from_secs(40);
/// Time within which everything must have ended after the last fault.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Interval of the query that counts what has not ended, which reads the whole log.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// Upper bound of the load after the last fault.
const LOAD_MAX: Duration = Duration::from_secs(1_800);

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub seed: u64,
    /// Minimum number of webhooks that are sent.
    pub events: usize,
    pub plan: PlanSize,
    pub per_second: f64,
    /// The program `hooksentry`.
    pub program: PathBuf,
    pub broker_nodes: usize,
    /// Whether PostgreSQL is a cluster under Patroni.
    pub patroni: bool,
    pub delivery_timeout: Duration,
    /// Folder of the logs of processes, which stay.
    pub logs: PathBuf,
    /// Receives a line for each step.
    pub progress: fn(&str),
}

/// A run in progress.
struct Run {
    options: RunOptions,
    recorder: Arc<Recorder>,
    installation: Installation,
    tenants: Tenants,
    injector: Injector,
    faults: Vec<FaultSpan>,
    ended_processes: Vec<String>,
}

/// Makes a run, and returns its history.
///
/// # Errors
/// The installation does not start, or a fault cannot be injected. Violations are not errors.
pub async fn run(mut options: RunOptions) -> anyhow::Result<History> {
    options.plan.kinds.retain(|kind| kind.is_possible(options.patroni));
    // In this order, so that servers end before their folder is removed.
    let folder = TemporaryFolder::create()?;
    let recorder = Arc::new(Recorder::new(behaviours().len()));
    let receivers = Receivers::start(options.seed, behaviours(), Arc::clone(&recorder)).await?;
    let installation = Installation::start(InstallationOptions {
        program: options.program.clone(),
        folder: folder.path().to_owned(),
        logs: options.logs.clone(),
        broker_nodes: options.broker_nodes,
        patroni: options.patroni,
        delivery_timeout: options.delivery_timeout,
        vanished_margin: options.delivery_timeout,
    })
    .await?;
    let tenants = Tenants::create(&installation.apis()[0], &receivers).await?;
    let injector = Injector::new(recorder.clock);
    if options.plan.kinds.contains(&FaultKind::ClockStep) && !has_clocks() {
        (options.progress)("skipped: clock-step, because libfaketime is not installed");
        options.plan.kinds.retain(|kind| *kind != FaultKind::ClockStep);
    }
    if options.plan.kinds.contains(&FaultKind::Restore)
        && !installation.run_command(&["restore", "--help"]).await?.0
    {
        (options.progress)("skipped: restore, because the program has no such command");
        options.plan.kinds.retain(|kind| *kind != FaultKind::Restore);
    }
    let run =
        Run { options, recorder, installation, tenants, injector, faults: vec![], ended_processes: vec![] };
    run.complete(receivers).await
}

impl Run {
    async fn complete(mut self, receivers: Receivers) -> anyhow::Result<History> {
        let stop = CancellationToken::new();
        let mut load = JoinSet::new();
        load.spawn(self.load().run(stop.clone()));
        self.until_delivered(RunTime::ZERO).await;
        let plan = Plan::draw(self.options.seed, &self.options.plan);
        for step in &plan.steps {
            self.step(step).await?;
        }
        self.until_enough().await;
        if let Some(last) = self.faults.last().map(|fault| fault.step_ended) {
            let now = self.recorder.clock.now();
            self.faults
                .iter_mut()
                .filter(|fault| fault.step_ended == last)
                .for_each(|fault| fault.next_began = now);
        }
        stop.cancel();
        while let Some(ended) = load.join_next().await {
            ended.context("the load panicked")??;
        }
        receivers.heal();
        self.activate().await;
        self.settle().await?;
        self.collect(receivers).await
    }

    fn load(&self) -> Load {
        Load {
            seed: self.options.seed,
            per_second: self.options.per_second,
            apis: self.installation.apis(),
            targets: self.tenants.targets.clone(),
            behaviours: behaviours(),
            recorder: Arc::clone(&self.recorder),
        }
    }

    /// Injects the faults of one step, and waits until deliveries continue.
    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let began = self.recorder.clock.now();
        for fault in self.faults.iter_mut().filter(|fault| fault.next_began == RunTime::MAX) {
            fault.next_began = began;
        }
        let mut active: Vec<ActiveFault> = Vec::new();
        for planned in &step.faults {
            active.push(self.injector.begin(&mut self.installation, *planned).await?);
        }
        active.sort_by_key(|fault| fault.began + fault.planned.duration);
        let mut ended = Vec::new();
        for fault in &active {
            if !fault.planned.kind.ends_at_once() {
                let end = fault.began + fault.planned.duration;
                sleep(end.saturating_sub(self.recorder.clock.now())).await;
            }
            self.injector.end(&mut self.installation, fault).await?;
            ended.push(self.recorder.clock.now());
        }
        let step_ended = self.recorder.clock.now();
        self.faults.extend(active.iter().zip(ended).map(|(fault, ended)| FaultSpan {
            kind: fault.planned.kind,
            target: fault.target.clone(),
            began: fault.began,
            ended,
            step_ended,
            next_began: RunTime::MAX,
        }));
        let recovered = self.until_delivered(step_ended).await;
        self.restart_ended().await?;
        self.print_step(&active, step_ended, recovered);
        for fault in &active {
            self.injector.repair(&mut self.installation, fault.planned.kind).await?;
        }
        sleep(step.pause).await;
        Ok(())
    }

    fn print_step(&self, active: &[ActiveFault], ended: RunTime, recovered: bool) {
        let faults: Vec<String> =
            active.iter().map(|fault| format!("{} of {}", fault.planned.kind, fault.target)).collect();
        let began = active.iter().map(|fault| fault.began).min().unwrap_or_default();
        let now = self.recorder.clock.now();
        let result =
            if recovered { "deliveries continued after" } else { "deliveries did not continue within" };
        (self.options.progress)(&format!(
            "{:7.1} s  {} for {:.1} s; {result} {:.1} s; {} webhooks sent",
            began.as_secs_f64(),
            faults.join(", "),
            ended.saturating_sub(began).as_secs_f64(),
            now.saturating_sub(ended).as_secs_f64(),
            self.recorder.sent_count(),
        ));
    }

    /// Waits until every healthy destination has got a request after `since`. Returns false if that takes too
    /// long.
    async fn until_delivered(&self, since: RunTime) -> bool {
        let healthy: Vec<usize> = (0..self.tenants.destinations.len())
            .filter(|number| self.tenants.destinations[*number].behaviour == Behaviour::Healthy)
            .collect();
        let deadline = Instant::now() + RECOVERY_WITHIN;
        while Instant::now() < deadline {
            if healthy.iter().all(|number| self.recorder.last_request(*number) > since) {
                return true;
            }
            sleep(POLL_INTERVAL).await;
        }
        false
    }

    /// Starts processes that ended by themselves, as a supervisor does.
    async fn restart_ended(&mut self) -> anyhow::Result<()> {
        for number in 0..PROCESSES.len() {
            let process = &mut self.installation.processes[number];
            if process.has_ended() {
                self.ended_processes.push(process.log_name());
                process.start().await?;
            }
        }
        Ok(())
    }

    async fn until_enough(&self) {
        let deadline = Instant::now() + LOAD_MAX;
        while self.recorder.sent_count() < self.options.events && Instant::now() < deadline {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends the suspension of destinations, through any process that answers. If none does, events that have not
    /// ended are left to the checker.
    async fn activate(&self) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            for base in self.installation.apis() {
                match self.tenants.activate(&base).await {
                    Ok(()) => return,
                    Err(error) if Instant::now() >= deadline => {
                        (self.options.progress)(&format!("destinations stay suspended: {error:#}"));
                        return;
                    }
                    Err(_) => sleep(SETTLE_INTERVAL).await,
                }
            }
        }
    }

    /// Waits until every event has ended and the read model shows it. What does not end in time is left to the
    /// checker.
    async fn settle(&self) -> anyhow::Result<()> {
        let mut connection = self.installation.database.connect().await?;
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut not_ended = log::count_not_ended(&mut connection).await?;
        while not_ended != (0, 0) && Instant::now() < deadline {
            sleep(SETTLE_INTERVAL).await;
            not_ended = log::count_not_ended(&mut connection).await?;
        }
        (self.options.progress)(&format!(
            "{:7.1} s  {} events have not ended by the log, {} by the read model",
            self.recorder.clock.now().as_secs_f64(),
            not_ended.0,
            not_ended.1
        ));
        Ok(())
    }

    async fn collect(mut self, receivers: Receivers) -> anyhow::Result<History> {
        let (equal, output) = self.installation.run_command(&["verify-projections"]).await?;
        self.restart_ended().await?;
        self.installation.kill_processes();
        receivers.stop().await;
        let mut connection = self.installation.database.connect().await?;
        let facts = log::read_facts(&mut connection, self.recorder.clock).await?;
        let read_model = log::read_statuses(&mut connection).await?;
        let (sent, requests) = self.recorder.take();
        Ok(History {
            seed: self.options.seed,
            delivery_timeout: self.options.delivery_timeout,
            tenants: self.tenants.tenants,
            destinations: self.tenants.destinations,
            sent,
            requests,
            facts,
            lost_facts: self.injector.lost_facts,
            read_model,
            drift: (!equal).then_some(output),
            faults: self.faults,
            ended_processes: self.ended_processes,
        })
    }
}
