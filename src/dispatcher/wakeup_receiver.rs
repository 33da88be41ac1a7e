//! Which notifications wake the dispatcher at once, and which after a delay.
//!
//! The facts of a claim and of an outcome follow soon after that of the acceptance. Reading the log for each of
//! the three is three times as often as necessary: at once the dispatcher needs accepted webhooks, and, while
//! something waits for a permit, the ends of attempts.

use std::time::Duration;

use tokio::sync::watch;

use crate::event_store::LogNotifier;

/// Delay after a notification of progress while nothing waits for it, so that several facts are read at once.
/// Longer: the next leader has more of the log to read.
const PROGRESS_AFTER: Duration = Duration::from_millis(25);

/// Receives the notifications that wake the dispatcher.
pub(super) struct WakeupReceiver {
    work: watch::Receiver<u64>,
    anything: watch::Receiver<u64>,
}

impl WakeupReceiver {
    /// Subscribes to notifications that `notifier` sends from now on.
    pub(super) fn of(notifier: &LogNotifier) -> Self {
        Self { work: notifier.subscribe_to_new_work(), anything: notifier.subscribe() }
    }

    /// Discards the notifications received so far, because the log is read now.
    pub(super) fn mark_unchanged(&mut self) {
        self.work.mark_unchanged();
        self.anything.mark_unchanged();
    }

    /// Waits for a notification. One of progress counts at once if it `is_awaited`, and after
    /// [`PROGRESS_AFTER`] otherwise.
    pub(super) async fn wait(&mut self, is_awaited: bool) {
        let progress = async {
            let changed = self.anything.changed().await;
            if !is_awaited {
                tokio::time::sleep(PROGRESS_AFTER).await;
            }
            changed
        };
        tokio::select! {
            _ = self.work.changed() => {}
            _ = progress => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::event_store::Notification;

    /// Whether it wakes up at once.
    async fn is_woken(wakeup_receiver: &mut WakeupReceiver, is_awaited: bool) -> bool {
        let mut waiting = pin!(wakeup_receiver.wait(is_awaited));
        poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn work_wakes_at_once_and_progress_only_where_it_is_awaited() {
        let notifier = LogNotifier::within_process();
        let mut wakeup_receiver = WakeupReceiver::of(&notifier);
        assert!(!is_woken(&mut wakeup_receiver, true).await, "no notification was sent");

        notifier.notify(Notification::Progress);
        assert!(is_woken(&mut wakeup_receiver, true).await);
        notifier.notify(Notification::Progress);
        {
            let mut waiting = pin!(wakeup_receiver.wait(false));
            assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
            // It still wakes, after the delay.
            waiting.await;
        }

        notifier.notify(Notification::NewWork);
        assert!(is_woken(&mut wakeup_receiver, false).await);
        wakeup_receiver.mark_unchanged();
        assert!(!is_woken(&mut wakeup_receiver, true).await, "the log was read since");
    }
}
