//! Which wake-ups the dispatcher follows at once, and which it lets gather.
//!
//! An event is announced and recorded soon after it is accepted. Whoever reads the log for each of the three reads
//! it three times as often as is of use: only a webhook that was accepted has to be acted on now, and room that
//! becomes free, if something waits for it.

use std::time::Duration;

use tokio::sync::watch;

use crate::event_store::LogNotifier;

/// How long the news of how attempts go is left to gather while nothing waits for it. Longer, and whoever
/// follows this one as leader has more to read.
const PROGRESS_AFTER: Duration = Duration::from_millis(25);

/// What wakes the dispatcher.
pub(super) struct WakeupReceiver {
    work: watch::Receiver<u64>,
    anything: watch::Receiver<u64>,
}

impl WakeupReceiver {
    /// Hears what `notifier` tell from now on.
    pub(super) fn of(notifier: &LogNotifier) -> Self {
        Self { work: notifier.subscribe_to_work(), anything: notifier.subscribe() }
    }

    /// Takes note that the log is looked at now.
    pub(super) fn mark_unchanged(&mut self) {
        self.work.mark_unchanged();
        self.anything.mark_unchanged();
    }

    /// Waits until the log is to be looked at: at once for work; for anything else at once as well if that
    /// `is_awaited`, and a little later if not.
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

    /// Whether it is woken at once.
    async fn is_woken(wakeup_receiver: &mut WakeupReceiver, is_awaited: bool) -> bool {
        let mut waiting = pin!(wakeup_receiver.wait(is_awaited));
        poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn work_is_heard_at_once_and_news_only_where_it_is_awaited() {
        let notifier = LogNotifier::within_process();
        let mut wakeup_receiver = WakeupReceiver::of(&notifier);
        assert!(!is_woken(&mut wakeup_receiver, true).await, "nothing was told");

        notifier.announce(Notification::Progress);
        assert!(is_woken(&mut wakeup_receiver, true).await);
        notifier.announce(Notification::Progress);
        {
            let mut waiting = pin!(wakeup_receiver.wait(false));
            assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
            // It comes all the same, a little later.
            waiting.await;
        }

        notifier.announce(Notification::Work);
        assert!(is_woken(&mut wakeup_receiver, false).await);
        wakeup_receiver.mark_unchanged();
        assert!(!is_woken(&mut wakeup_receiver, true).await, "once it was looked at, it is no news");
    }
}
