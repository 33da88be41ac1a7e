//! Graceful shutdown, and detection of tasks that end unexpectedly.
//!
//! Every task of the service is named and tracked. *Working* tasks accept work from outside: the API, the
//! dispatcher, the worker. *Supporting* tasks serve them: the projector, for whose read models the API waits,
//! and the tasks that pass on notifications. So a shutdown has stages:
//!
//! 1. **Soft.** The first SIGINT or SIGTERM cancels [`Lifecycle::intake`]: no new work is accepted, and work
//!    in progress is finished.
//! 2. **Drained.** When the last working task has ended, [`Lifecycle::drained`] is cancelled and the
//!    supporting tasks end.
//! 3. **Hard.** A second signal, or the deadline, cancels [`Lifecycle::hard`]: all tasks are dropped at their
//!    next await. That is safe at any point, because it is the same as a crash: the log has every fact that
//!    was acknowledged, and unfinished work is found there.
//!
//! When a task panics, fails or ends unexpectedly, the process would only seem to work. So it stops, softly
//! and with a failing exit code, and a supervisor can restart it.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time within which supporting tasks must end. They only have to finish a step in progress.
const SUPPORT_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Time within which the remaining tasks must be dropped.
const DROPPED_WITHIN: Duration = Duration::from_secs(2);

/// Shutdown state and tasks of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    intake: CancellationToken,
    drained: CancellationToken,
    hard: CancellationToken,
    failed: CancellationToken,
    working: TaskTracker,
    supporting: TaskTracker,
    signals: TaskTracker,
    first_failure: Arc<Mutex<Option<ShutdownError>>>,
    deadline: Duration,
}

/// Reason why the process did not shut down cleanly.
#[derive(Debug, Error)]
pub enum ShutdownError {
    #[error("{task} ended unexpectedly")]
    Unexpected { task: &'static str },
    #[error("{task} failed")]
    Failed { task: &'static str, source: anyhow::Error },
    /// A task panicked; the panic hook has logged where.
    #[error("{task} panicked")]
    Panicked { task: &'static str },
    /// Work was in progress at the deadline, or at a second signal.
    #[error(
        "stopped before the work in progress was finished; it continues from the log after the next start"
    )]
    DeadlineExceeded,
}

impl Lifecycle {
    /// Creates a lifecycle. Work in progress has `deadline` to finish after a stop.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self {
            intake: CancellationToken::new(),
            drained: CancellationToken::new(),
            hard: CancellationToken::new(),
            failed: CancellationToken::new(),
            working: TaskTracker::new(),
            supporting: TaskTracker::new(),
            signals: TaskTracker::new(),
            first_failure: Arc::default(),
            deadline,
        }
    }

    /// Installs SIGINT and SIGTERM handlers that start a graceful shutdown.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn handle_signals(&self) -> io::Result<()> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let lifecycle = self.clone();
        self.signals.spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                lifecycle.on_signal(name);
            }
        });
        Ok(())
    }

    /// Cancelled when no new work must be accepted.
    #[must_use]
    pub fn intake(&self) -> CancellationToken {
        self.intake.clone()
    }

    /// Cancelled when the last working task has ended, so that supporting tasks are not needed any more.
    #[must_use]
    pub fn drained(&self) -> CancellationToken {
        self.drained.clone()
    }

    /// Cancelled when everything must end immediately.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Tracker for tasks that working tasks spawn; a shutdown waits for them.
    #[must_use]
    pub fn working(&self) -> &TaskTracker {
        &self.working
    }

    /// The same tracker, for tasks whose panic stops the process.
    #[must_use]
    pub fn working_helpers(&self) -> HelperTasks {
        HelperTasks { tracker: self.working.clone(), lifecycle: Some(self.clone()) }
    }

    /// Tracker for tasks that supporting tasks spawn. A panic of one of them stops the process.
    #[must_use]
    pub fn supporting(&self) -> HelperTasks {
        HelperTasks { tracker: self.supporting.clone(), lifecycle: Some(self.clone()) }
    }

    /// Starts a working task, which ends once [`Self::intake`] is cancelled and its work is done.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.track(&self.working, self.intake(), name, task);
    }

    /// Starts a supporting task, which ends once [`Self::drained`] is cancelled.
    pub fn spawn_supporting(
        &self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.track(&self.supporting, self.drained(), name, task);
    }

    /// Starts a graceful shutdown.
    pub fn stop(&self) {
        self.intake.cancel();
    }

    /// Waits until a shutdown starts or a task ends unexpectedly, and completes the shutdown.
    ///
    /// # Errors
    /// A task ended unexpectedly, or work was in progress at the deadline.
    pub async fn finish(self) -> Result<(), ShutdownError> {
        tokio::select! {
            () = self.intake.cancelled() => {}
            () = self.failed.cancelled() => self.intake.cancel(),
        }
        let in_time = self.drain().await;
        self.drained.cancel();
        self.supporting.close();
        tokio::select! {
            () = self.supporting.wait() => {}
            () = self.hard.cancelled() => {}
            () = sleep(SUPPORT_ENDS_WITHIN) => tracing::warn!("some supporting tasks did not end in time and are dropped"),
        }
        self.hard.cancel();
        let everything = async { tokio::join!(self.working.wait(), self.supporting.wait()) };
        let _ = timeout(DROPPED_WITHIN, everything).await;
        let first_failure = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first_failure {
            Some(failure) => Err(failure),
            None if !in_time => Err(ShutdownError::DeadlineExceeded),
            None => Ok(()),
        }
    }

    /// Waits until the working tasks have ended; returns false at the deadline or a hard stop.
    async fn drain(&self) -> bool {
        self.working.close();
        tokio::select! {
            biased;
            () = self.working.wait() => return true,
            () = self.hard.cancelled() => {}
            () = sleep(self.deadline) => {
                tracing::warn!(deadline = ?self.deadline, "the work in progress exceeded the deadline and is aborted");
            }
        }
        self.hard.cancel();
        false
    }

    fn on_signal(&self, signal: &'static str) {
        if self.intake.is_cancelled() {
            tracing::warn!(signal, "stopping immediately");
            self.hard.cancel();
        } else {
            tracing::info!(
                signal,
                deadline = ?self.deadline,
                "stopping after the work in progress; a second signal stops immediately"
            );
            self.intake.cancel();
        }
    }

    fn track(
        &self,
        tracker: &TaskTracker,
        stop: CancellationToken,
        task: &'static str,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let hard = self.hard();
        let running = tracker.spawn(async move {
            tokio::select! {
                () = hard.cancelled() => Ok(()),
                ended = future => ended,
            }
        });
        let lifecycle = self.clone();
        tracker.spawn(async move {
            let is_stopping = || stop.is_cancelled() || lifecycle.hard.is_cancelled();
            match running.await {
                Ok(Ok(())) if is_stopping() => tracing::debug!(task, "ended"),
                Ok(Ok(())) => lifecycle.record_failure(ShutdownError::Unexpected { task }),
                Ok(Err(source)) => lifecycle.record_failure(ShutdownError::Failed { task, source }),
                Err(_) => lifecycle.record_failure(ShutdownError::Panicked { task }),
            }
        });
    }

    fn record_failure(&self, failure: ShutdownError) {
        let mut first_failure = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first_failure.is_none() {
            tracing::error!(reason = %failure, "stopping because a task ended unexpectedly");
            *first_failure = Some(failure);
        } else {
            tracing::error!(reason = %failure, "another task ended unexpectedly");
        }
        self.failed.cancel();
    }
}

/// Spawns tasks that end with the part of the service that they serve. Without them it would only seem to work, so
/// the process stops when one of them panics.
#[derive(Clone, Debug)]
pub struct HelperTasks {
    tracker: TaskTracker,
    /// `None`: there is no process to stop.
    lifecycle: Option<Lifecycle>,
}

impl HelperTasks {
    /// Returns tasks that are only tracked, for use without a [`Lifecycle`].
    #[must_use]
    pub fn tracked_by(tracker: TaskTracker) -> Self {
        Self { tracker, lifecycle: None }
    }

    /// Starts a task.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let lifecycle = self.lifecycle.clone();
        self.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if let (Err(_), Some(lifecycle)) = (ended, lifecycle) {
                lifecycle.record_failure(ShutdownError::Panicked { task: name });
            }
        });
    }

    /// Returns the tracker, for tasks whose results are waited for.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// Waits for `stop`, and then adds `name` to `order`.
    async fn end_on(
        stop: CancellationToken,
        order: Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    ) -> anyhow::Result<()> {
        stop.cancelled().await;
        order.lock().unwrap().push(name);
        Ok(())
    }

    #[tokio::test]
    async fn supporting_tasks_end_after_working_ones() {
        let lifecycle = Lifecycle::new(LONG);
        let order = Arc::default();
        lifecycle.spawn_supporting("projector", end_on(lifecycle.drained(), Arc::clone(&order), "projector"));
        let (intake, finished) = (lifecycle.intake(), Arc::clone(&order));
        lifecycle.spawn("worker", async move {
            intake.cancelled().await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            finished.lock().unwrap().push("worker");
            Ok(())
        });
        lifecycle.stop();
        lifecycle.finish().await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["worker", "projector"]);
    }

    #[tokio::test]
    async fn the_deadline_aborts_tasks_that_do_not_end() {
        let deadline = Duration::from_millis(30);
        let lifecycle = Lifecycle::new(deadline);
        lifecycle.spawn("worker", std::future::pending());
        lifecycle.stop();
        let began = Instant::now();
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::DeadlineExceeded)));
        assert!((deadline..DROPPED_WITHIN).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_second_signal_stops_immediately() {
        let lifecycle = Lifecycle::new(LONG);
        lifecycle.spawn("worker", std::future::pending());
        lifecycle.spawn_supporting("projector", std::future::pending());
        lifecycle.on_signal("SIGTERM");
        assert!(lifecycle.intake().is_cancelled() && !lifecycle.hard().is_cancelled());
        lifecycle.on_signal("SIGTERM");
        let began = Instant::now();
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::DeadlineExceeded)));
        assert!(began.elapsed() < DROPPED_WITHIN, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_panic_stops_the_other_tasks_and_names_its_task() {
        let lifecycle = Lifecycle::new(LONG);
        let order = Arc::default();
        lifecycle.spawn("api", end_on(lifecycle.intake(), Arc::clone(&order), "api"));
        lifecycle.spawn("worker", async { panic!("a bug") });
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::Panicked { task: "worker" })));
        assert_eq!(*order.lock().unwrap(), ["api"]);
    }

    #[tokio::test]
    async fn a_panic_of_a_helper_stops_the_process() {
        let lifecycle = Lifecycle::new(LONG);
        lifecycle.spawn("api", end_on(lifecycle.intake(), Arc::default(), "api"));
        lifecycle.supporting().spawn("the publisher", async { panic!("a bug") });
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::Panicked { task: "the publisher" })));

        let lifecycle = Lifecycle::new(LONG);
        lifecycle.supporting().spawn("the publisher", async {});
        lifecycle.stop();
        lifecycle.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_fails_or_ends_unexpectedly_stops_the_process_with_an_error() {
        let lifecycle = Lifecycle::new(LONG);
        lifecycle.spawn_supporting("projector", async { Err(anyhow!("no database")) });
        let error = lifecycle.finish().await.unwrap_err();
        assert_eq!(error.to_string(), "projector failed");
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), "projector failed: no database");

        let lifecycle = Lifecycle::new(LONG);
        lifecycle.spawn("dispatcher", async { Ok(()) });
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::Unexpected { task: "dispatcher" })));

        // A supporting task that ends before the working ones has ended unexpectedly as well.
        let lifecycle = Lifecycle::new(LONG);
        let intake = lifecycle.intake();
        lifecycle.spawn_supporting("projector", async move {
            intake.cancelled().await;
            Ok(())
        });
        let drained_late = lifecycle.clone();
        lifecycle.spawn("api", async move {
            drained_late.failed.cancelled().await;
            Ok(())
        });
        lifecycle.stop();
        assert!(matches!(lifecycle.finish().await, Err(ShutdownError::Unexpected { task: "projector" })));
    }

    #[tokio::test]
    async fn a_lifecycle_without_tasks_ends_without_an_error() {
        let lifecycle = Lifecycle::new(LONG);
        lifecycle.stop();
        lifecycle.finish().await.unwrap();
    }
}
