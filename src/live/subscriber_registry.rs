//! Registry of the subscribers of this process, and the channels to them.
//!
//! Subscribers of one tenant share a channel that holds the newest notifications. A subscriber that is too slow loses
//! the oldest ones and reads them from the log; it never delays the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;
use projections::LogPosition;
use thiserror::Error;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use super::PAGE_FACTS_MAX;
use super::change::Notification;

/// Largest number of subscribers of one tenant in this process; fewer when fewer places are free, so that many tenants
/// with many streams leave some for others.
const TENANT_SUBSCRIBERS_MAX: usize = 50;
/// Largest number of subscribers in this process.
const SUBSCRIBERS_MAX: usize = 1_000;
/// Notifications that a channel holds: two pages, so that a subscriber which keeps up with the pages loses none.
const CHANNEL_CAPACITY: usize = 2 * PAGE_FACTS_MAX;

/// Limit of subscribers that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubscriberLimit {
    #[error("the tenant already has its share of open streams, at most {TENANT_SUBSCRIBERS_MAX}")]
    Tenant,
    #[error("there are already {SUBSCRIBERS_MAX} open streams")]
    Process,
}

/// Subscribers of this process.
#[derive(Debug, Default)]
pub(super) struct SubscriberRegistry {
    state: Mutex<State>,
    subscribed: Notify,
    /// Signals that the follower has started.
    started: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while there are no subscribers.
    progress: Option<FollowerProgress>,
    tenants: HashMap<TenantId, Channel>,
    subscribers: usize,
}

/// Progress of the follower of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct FollowerProgress {
    /// Position up to which all notifications were sent.
    pub(super) sent: LogPosition,
    /// Position up to which facts are being read, for the tenants that had subscribers when the read started. Later
    /// subscribers receive nothing of it.
    pub(super) reading: LogPosition,
}

#[derive(Debug)]
struct Channel {
    sender: broadcast::Sender<Arc<Notification>>,
    subscribers: usize,
}

/// Place of a subscriber, which is released when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    registry: Arc<SubscriberRegistry>,
    tenant_id: TenantId,
}

impl SubscriberRegistry {
    /// Adds a subscriber, which receives all later notifications of its tenant.
    ///
    /// # Errors
    /// There are too many subscribers.
    pub(super) fn join(
        self: &Arc<Self>,
        tenant_id: TenantId,
    ) -> Result<(Slot, broadcast::Receiver<Arc<Notification>>), SubscriberLimit> {
        let mut state = self.lock();
        let subscribers = state.subscribers;
        if subscribers >= SUBSCRIBERS_MAX {
            return Err(SubscriberLimit::Process);
        }
        let channel = state
            .tenants
            .entry(tenant_id)
            .or_insert_with(|| Channel { sender: broadcast::Sender::new(CHANNEL_CAPACITY), subscribers: 0 });
        if channel.subscribers >= TENANT_SUBSCRIBERS_MAX.min(SUBSCRIBERS_MAX - subscribers) {
            return Err(SubscriberLimit::Tenant);
        }
        channel.subscribers += 1;
        let receiver = channel.sender.subscribe();
        state.subscribers += 1;
        measure(state.subscribers);
        drop(state);
        self.subscribed.notify_one();
        Ok((Slot { registry: Arc::clone(self), tenant_id }, receiver))
    }

    /// Returns the progress of the follower, after it has started.
    pub(super) async fn started_progress(&self) -> FollowerProgress {
        loop {
            let mut started = std::pin::pin!(self.started.notified());
            started.as_mut().enable();
            if let Some(progress) = self.lock().progress {
                return progress;
            }
            started.await;
        }
    }

    /// Returns the progress of the follower; `None` if it does not run.
    pub(super) fn progress(&self) -> Option<FollowerProgress> {
        self.lock().progress
    }

    /// Waits until there is a subscriber.
    pub(super) async fn wait_for_subscriber(&self) {
        while self.stop_if_empty() {
            self.subscribed.notified().await;
        }
    }

    /// Starts the follower at `position`.
    pub(super) fn start(&self, position: LogPosition) {
        self.lock().progress = Some(FollowerProgress { sent: position, reading: position });
        self.started.notify_waiters();
    }

    /// Starts to read up to `until`, and returns the tenants to read for. Stops the follower and returns `None` if there
    /// are no subscribers.
    pub(super) fn start_reading(&self, until: LogPosition) -> Option<Vec<Uuid>> {
        let mut state = self.lock();
        if state.stop_if_empty() {
            return None;
        }
        state.progress.as_mut()?.reading = until;
        Some(state.tenants.keys().map(|tenant_id| tenant_id.0).collect())
    }

    /// Sends the notifications of the facts up to `position`.
    pub(super) fn send(&self, notifications: Vec<(TenantId, Notification)>, position: LogPosition) {
        let mut state = self.lock();
        for (tenant_id, notification) in notifications {
            if let Some(channel) = state.tenants.get(&tenant_id) {
                // Fails if the last subscriber has just left.
                let _ = channel.sender.send(Arc::new(notification));
            }
        }
        if let Some(progress) = &mut state.progress {
            progress.sent = position;
        }
    }

    /// Stops the follower if there are no subscribers, and returns whether there are none.
    pub(super) fn stop_if_empty(&self) -> bool {
        self.lock().stop_if_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stop_if_empty(&mut self) -> bool {
        let empty = self.subscribers == 0;
        if empty {
            self.progress = None;
        }
        empty
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.subscribers -= 1;
        measure(state.subscribers);
        if let Some(channel) = state.tenants.get_mut(&self.tenant_id) {
            channel.subscribers -= 1;
            if channel.subscribers == 0 {
                state.tenants.remove(&self.tenant_id);
            }
        }
    }
}

fn measure(subscribers: usize) {
    metrics::gauge!("hooksentry_live_streams").set(subscribers as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tenants_with_many_subscribers_leave_places_for_another() {
        let registry = Arc::new(SubscriberRegistry::default());
        let mut subscribers = Vec::new();
        for tenant in 1..=25 {
            let tenant_id = TenantId(Uuid::from_u128(tenant));
            let joined = std::iter::from_fn(|| registry.join(tenant_id).ok()).collect::<Vec<_>>();
            assert!((1..=TENANT_SUBSCRIBERS_MAX).contains(&joined.len()), "{tenant}: {}", joined.len());
            subscribers.extend(joined);
        }
        drop(subscribers);
        assert!(registry.lock().tenants.is_empty());
    }
}
