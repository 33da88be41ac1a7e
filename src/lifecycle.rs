//! Stopping, and noticing what stopped by itself.
//!
//! Every task of the service is named and tracked. There are two kinds. *Working* tasks take work from
//! outside: the API, the dispatcher, the worker. *Supporting* tasks serve them: the projector, for whose
//! read models the API waits, and whatever carries wake-ups. So a stop has stages:
//!
//! 1. **Soft.** The first SIGINT or SIGTERM cancels [`Lifecycle::intake`]: nothing new is taken on, what
//!    is in hand is finished.
//! 2. **Drained.** When the last working task has ended, [`Lifecycle::drained`] is cancelled and the
//!    supporting tasks end.
//! 3. **Hard.** A second signal, or the deadline, cancels [`Lifecycle::hard`] and everything else: named
//!    tasks are dropped where they stand. That is safe at any point, as it is no different from a crash:
//!    the log has what was promised, and unfinished work is found there.
//!
//! A named task that panics, fails, or ends although nobody asked, leaves a service that only looks
//! alive. It stops the process, softly and with a failing exit code, so that a supervisor starts it anew.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long supporting tasks may take to end. They have nothing to finish but a step under way.
const SUPPORT_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long dropping what is left may take.
const DROPPED_WITHIN: Duration = Duration::from_secs(2);

/// The life of the process. Cloned freely; all clones are the same life.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    intake: CancellationToken,
    drained: CancellationToken,
    hard: CancellationToken,
    failed: CancellationToken,
    working: TaskTracker,
    supporting: TaskTracker,
    attending: TaskTracker,
    first_death: Arc<Mutex<Option<ShutdownError>>>,
    deadline: Duration,
}

/// Why the process ends other than in peace.
#[derive(Debug, Error)]
pub enum ShutdownError {
    /// A task ended although nobody asked.
    #[error("{task} ended although nobody asked it to")]
    Unasked { task: &'static str },
    /// A task failed.
    #[error("{task} failed")]
    Failed { task: &'static str, source: anyhow::Error },
    /// A task panicked. The log says where.
    #[error("{task} panicked")]
    Panicked { task: &'static str },
    /// Work was still in hand when the time was over, or when a second signal came.
    #[error("stopped before the work in hand was finished; it will be found in the log")]
    CutOff,
}

impl Lifecycle {
    /// A life that ends when [`Self::stop`] says so. Work in hand may take until `deadline` then.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self {
            intake: CancellationToken::new(),
            drained: CancellationToken::new(),
            hard: CancellationToken::new(),
            failed: CancellationToken::new(),
            working: TaskTracker::new(),
            supporting: TaskTracker::new(),
            attending: TaskTracker::new(),
            first_death: Arc::default(),
            deadline,
        }
    }

    /// From now on SIGINT and SIGTERM stop this life instead of killing the process.
    pub fn attend_to_signals(&self) -> io::Result<()> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let life = self.clone();
        self.attending.spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                life.signalled(name);
            }
        });
        Ok(())
    }

    /// Cancelled when no new work is to be taken on.
    #[must_use]
    pub fn intake(&self) -> CancellationToken {
        self.intake.clone()
    }

    /// Cancelled when the last working task has ended, so that nobody needs support any more.
    #[must_use]
    pub fn drained(&self) -> CancellationToken {
        self.drained.clone()
    }

    /// Cancelled when everything is to end at once.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Tracks what working tasks spawn for their own purposes: a stop waits for them.
    #[must_use]
    pub fn working(&self) -> &TaskTracker {
        &self.working
    }

    /// Tracks what supporting tasks spawn for their own purposes.
    #[must_use]
    pub fn supporting(&self) -> &TaskTracker {
        &self.supporting
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

    /// Stops softly.
    pub fn stop(&self) {
        self.intake.cancel();
    }

    /// Waits until this life is told to stop or a task dies, and ends it.
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
            () = sleep(SUPPORT_ENDS_WITHIN) => tracing::warn!("some supporting tasks did not end and are dropped"),
        }
        self.hard.cancel();
        let everything = async { tokio::join!(self.working.wait(), self.supporting.wait()) };
        let _ = timeout(DROPPED_WITHIN, everything).await;
        let first_death = self.first_death.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first_death {
            Some(death) => Err(death),
            None if !in_time => Err(ShutdownError::CutOff),
            None => Ok(()),
        }
    }

    /// Waits until the working tasks have ended, or may wait no longer.
    async fn drain(&self) -> bool {
        self.working.close();
        tokio::select! {
            biased;
            () = self.working.wait() => return true,
            () = self.hard.cancelled() => {}
            () = sleep(self.deadline) => {
                tracing::warn!(deadline = ?self.deadline, "the work in hand took too long and is cut off");
            }
        }
        self.hard.cancel();
        false
    }

    fn signalled(&self, signal: &'static str) {
        if self.intake.is_cancelled() {
            tracing::warn!(signal, "stopping at once");
            self.hard.cancel();
        } else {
            tracing::info!(
                signal,
                deadline = ?self.deadline,
                "stopping: what is in hand is finished first; a second signal stops at once"
            );
            self.intake.cancel();
        }
    }

    fn track(
        &self,
        tracker: &TaskTracker,
        asked: CancellationToken,
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
        let life = self.clone();
        tracker.spawn(async move {
            let asked = || asked.is_cancelled() || life.hard.is_cancelled();
            match running.await {
                Ok(Ok(())) if asked() => tracing::debug!(task, "ended"),
                Ok(Ok(())) => life.died(ShutdownError::Unasked { task }),
                Ok(Err(source)) => life.died(ShutdownError::Failed { task, source }),
                Err(_) => life.died(ShutdownError::Panicked { task }),
            }
        });
    }

    fn died(&self, death: ShutdownError) {
        let mut first_death = self.first_death.lock().unwrap_or_else(PoisonError::into_inner);
        if first_death.is_none() {
            tracing::error!(reason = %death, "stopping because a part of the program died");
            *first_death = Some(death);
        } else {
            tracing::error!(reason = %death, "another part of the program died");
        }
        self.failed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A task that ends when `stop` is cancelled, and says that it has.
    async fn obey(
        stop: CancellationToken,
        order: Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    ) -> anyhow::Result<()> {
        stop.cancelled().await;
        order.lock().unwrap().push(name);
        Ok(())
    }

    #[tokio::test]
    async fn support_outlives_work() {
        let life = Lifecycle::new(LONG);
        let order = Arc::default();
        life.spawn_supporting("projector", obey(life.drained(), Arc::clone(&order), "projector"));
        let (intake, finished) = (life.intake(), Arc::clone(&order));
        life.spawn("worker", async move {
            intake.cancelled().await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            finished.lock().unwrap().push("worker");
            Ok(())
        });
        life.stop();
        life.finish().await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["worker", "projector"]);
    }

    #[tokio::test]
    async fn the_deadline_cuts_off_what_does_not_end() {
        let deadline = Duration::from_millis(30);
        let life = Lifecycle::new(deadline);
        life.spawn("worker", std::future::pending());
        life.stop();
        let began = Instant::now();
        assert!(matches!(life.finish().await, Err(ShutdownError::CutOff)));
        assert!((deadline..DROPPED_WITHIN).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_second_signal_stops_at_once() {
        let life = Lifecycle::new(LONG);
        life.spawn("worker", std::future::pending());
        life.spawn_supporting("projector", std::future::pending());
        life.signalled("SIGTERM");
        assert!(life.intake().is_cancelled() && !life.hard().is_cancelled());
        life.signalled("SIGTERM");
        let began = Instant::now();
        assert!(matches!(life.finish().await, Err(ShutdownError::CutOff)));
        assert!(began.elapsed() < DROPPED_WITHIN, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_others_and_is_named() {
        let life = Lifecycle::new(LONG);
        let order = Arc::default();
        life.spawn("api", obey(life.intake(), Arc::clone(&order), "api"));
        life.spawn("worker", async { panic!("a bug") });
        assert!(matches!(life.finish().await, Err(ShutdownError::Panicked { task: "worker" })));
        assert_eq!(*order.lock().unwrap(), ["api"]);
    }

    #[tokio::test]
    async fn a_task_that_fails_or_ends_unasked_stops_the_process_with_a_failure() {
        let life = Lifecycle::new(LONG);
        life.spawn_supporting("projector", async { Err(anyhow!("no database")) });
        let ending = life.finish().await.unwrap_err();
        assert_eq!(ending.to_string(), "projector failed");
        assert_eq!(format!("{:#}", anyhow::Error::from(ending)), "projector failed: no database");

        let life = Lifecycle::new(LONG);
        life.spawn("dispatcher", async { Ok(()) });
        assert!(matches!(life.finish().await, Err(ShutdownError::Unasked { task: "dispatcher" })));

        // Support that ends while work goes on has ended unasked too.
        let life = Lifecycle::new(LONG);
        let intake = life.intake();
        life.spawn_supporting("projector", async move {
            intake.cancelled().await;
            Ok(())
        });
        let drained_late = life.clone();
        life.spawn("api", async move {
            drained_late.failed.cancelled().await;
            Ok(())
        });
        life.stop();
        assert!(matches!(life.finish().await, Err(ShutdownError::Unasked { task: "projector" })));
    }

    #[tokio::test]
    async fn nothing_to_do_ends_in_peace() {
        let life = Lifecycle::new(LONG);
        life.stop();
        life.finish().await.unwrap();
    }
}
