//! Who listens, and handing out what there is to hear.
//!
//! Listeners of one tenant share a ring of the newest notices. Whoever reads too slowly finds that the
//! ring has moved on, and goes back to the log; nobody waits for anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;
use projections::LogPosition;
use thiserror::Error;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use super::PAGE_FACTS_MAX;
use super::change::Notice;

/// Listeners of one tenant in this process.
const TENANT_LISTENERS_MAX: usize = 50;
/// Listeners in this process.
const LISTENERS_MAX: usize = 1_000;
/// Notices that a tenant's ring holds: two pages, so that whoever keeps up with the pages never falls out.
const RING_NOTICES: usize = 2 * PAGE_FACTS_MAX;

/// Why nobody can join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Full {
    /// The tenant has as many listeners as one may have.
    #[error("the tenant has {TENANT_LISTENERS_MAX} streams open already")]
    Tenant,
    /// The process has as many as it can take.
    #[error("{LISTENERS_MAX} streams are open already")]
    Process,
}

/// Everybody who listens in this process.
#[derive(Debug, Default)]
pub(super) struct SubscriberRegistry {
    state: Mutex<State>,
    came: Notify,
    /// The log is followed from now on.
    begun: Notify,
}

#[derive(Debug, Default)]
struct State {
    followed: Option<Followed>,
    tenants: HashMap<TenantId, Ring>,
    listeners: usize,
}

/// How far the log is followed. `None` while nobody listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// Everything up to here was handed out.
    pub(super) handed_out: LogPosition,
    /// What lies between that and here is being read, for the tenants that had listeners when the reading
    /// began. Whoever comes meanwhile hears nothing of it.
    pub(super) reading: LogPosition,
}

#[derive(Debug)]
struct Ring {
    sender: broadcast::Sender<Arc<Notice>>,
    listeners: usize,
}

/// A listener's place. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    audience: Arc<SubscriberRegistry>,
    tenant_id: TenantId,
}

impl SubscriberRegistry {
    /// Takes a place. What is handed out from now on is received.
    pub(super) fn join(
        self: &Arc<Self>,
        tenant_id: TenantId,
    ) -> Result<(Slot, broadcast::Receiver<Arc<Notice>>), Full> {
        let mut state = self.lock();
        if state.listeners >= LISTENERS_MAX {
            return Err(Full::Process);
        }
        let ring = state
            .tenants
            .entry(tenant_id)
            .or_insert_with(|| Ring { sender: broadcast::Sender::new(RING_NOTICES), listeners: 0 });
        if ring.listeners >= TENANT_LISTENERS_MAX {
            return Err(Full::Tenant);
        }
        ring.listeners += 1;
        let receiver = ring.sender.subscribe();
        state.listeners += 1;
        measure(state.listeners);
        drop(state);
        self.came.notify_one();
        Ok((Slot { audience: Arc::clone(self), tenant_id }, receiver))
    }

    /// How far the log is followed, once it is.
    pub(super) async fn followed(&self) -> Followed {
        loop {
            let mut begun = std::pin::pin!(self.begun.notified());
            begun.as_mut().enable();
            if let Some(followed) = self.lock().followed {
                return followed;
            }
            begun.await;
        }
    }

    /// How far the log is followed at this moment.
    pub(super) fn followed_now(&self) -> Option<Followed> {
        self.lock().followed
    }

    /// Waits until somebody listens.
    pub(super) async fn somebody(&self) {
        while self.rests() {
            self.came.notified().await;
        }
    }

    /// From here on the log is followed.
    pub(super) fn begin(&self, place: LogPosition) {
        self.lock().followed = Some(Followed { handed_out: place, reading: place });
        self.begun.notify_waiters();
    }

    /// The log will be read up to `until`: for which tenants? For none, and it is followed no more, when
    /// nobody listens.
    pub(super) fn about_to_read(&self, until: LogPosition) -> Option<Vec<Uuid>> {
        let mut state = self.lock();
        if state.rest_without_listeners() {
            return None;
        }
        state.followed.as_mut()?.reading = until;
        Some(state.tenants.keys().map(|tenant_id| tenant_id.0).collect())
    }

    /// Hands out what was found up to `place`.
    pub(super) fn hand_out(&self, notices: Vec<(TenantId, Notice)>, place: LogPosition) {
        let mut state = self.lock();
        for (tenant_id, notice) in notices {
            if let Some(ring) = state.tenants.get(&tenant_id) {
                // Its last listener may be leaving at this moment.
                let _ = ring.sender.send(Arc::new(notice));
            }
        }
        if let Some(followed) = &mut state.followed {
            followed.handed_out = place;
        }
    }

    /// Whether nobody listens, so that the log is followed no more.
    pub(super) fn rests(&self) -> bool {
        self.lock().rest_without_listeners()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rest_without_listeners(&mut self) -> bool {
        let rests = self.listeners == 0;
        if rests {
            self.followed = None;
        }
        rests
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.audience.lock();
        state.listeners -= 1;
        measure(state.listeners);
        if let Some(ring) = state.tenants.get_mut(&self.tenant_id) {
            ring.listeners -= 1;
            if ring.listeners == 0 {
                state.tenants.remove(&self.tenant_id);
            }
        }
    }
}

fn measure(listeners: usize) {
    // Precise: there are few.
    metrics::gauge!("hooksentry_live_streams").set(listeners as f64);
}
