//! Queue for the slots in which passwords are hashed.
//!
//! Requests that wait are served in turns of their requesters: a flood from one client delays the others by one hash a
//! turn. The number of those that wait is bounded, in total and for each requester.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::client_network::ClientNetwork;

/// Part of the places in the queue that one requester may take.
const SHARE_OF_ONE: usize = 4;

/// On whose behalf a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// Network of an unauthenticated client.
    Client(ClientNetwork),
    Tenant(TenantId),
}

/// Refusal of a request that would have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueFull {
    #[error("{0} passwords wait to be hashed, the limit of the service")]
    InTotal(usize),
    #[error("{0} passwords of the same client or tenant wait to be hashed, the limit of one")]
    ForRequester(usize),
}

/// The slots, and the requests that wait for one.
#[derive(Clone, Debug)]
pub(super) struct SlotQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// It is the turn of the first.
    round: VecDeque<Waiting>,
    /// Number of those that wait, of all requesters.
    len: usize,
}

#[derive(Debug)]
struct Waiting {
    requester: Requester,
    requests: VecDeque<oneshot::Sender<Slot>>,
}

/// Right to hash. When it is dropped, the next that waits gets it.
#[derive(Debug)]
pub(super) struct Slot(SlotQueue);

impl SlotQueue {
    pub(super) fn new(slots: NonZeroUsize, waiting_max: usize) -> Self {
        let state = State { free: slots.get(), round: VecDeque::new(), len: 0 };
        Self(Arc::new(Shared { waiting_max, state: Mutex::new(state) }))
    }

    /// Waits for a slot.
    pub(super) async fn slot(&self, requester: Requester) -> Result<Slot, QueueFull> {
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot(self.clone()));
            }
            let pushed = state.push(requester, self.0.waiting_max);
            metrics::gauge!("hooksentry_password_hashes_waiting").set(state.len as f64);
            pushed?
        };
        // The sender is dropped only after it was used, or with this queue.
        turn.await.map_err(|_| QueueFull::InTotal(self.0.waiting_max))
    }

    /// Passes a slot that is no longer used to the next that waits.
    fn release(&self) {
        let next = {
            let mut state = self.state();
            let next = state.pop();
            if next.is_none() {
                state.free += 1;
            }
            metrics::gauge!("hooksentry_password_hashes_waiting").set(state.len as f64);
            next
        };
        if let Some(next) = next {
            // A request that was cancelled meanwhile returns the slot, which is released again when it is dropped.
            drop(next.send(Slot(self.clone())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(
        &mut self,
        requester: Requester,
        waiting_max: usize,
    ) -> Result<oneshot::Receiver<Slot>, QueueFull> {
        let share = (waiting_max / SHARE_OF_ONE).max(1);
        let waits = |state: &Self| {
            let own = state.round.iter().find(|waiting| waiting.requester == requester);
            own.map_or(0, |waiting| waiting.requests.len())
        };
        if self.len >= waiting_max || waits(self) >= share {
            self.remove_cancelled();
        }
        if waits(self) >= share {
            metrics::counter!("hooksentry_password_hashes_refused_total", "limit" => "requester")
                .increment(1);
            return Err(QueueFull::ForRequester(share));
        }
        if self.len >= waiting_max {
            metrics::counter!("hooksentry_password_hashes_refused_total", "limit" => "total").increment(1);
            return Err(QueueFull::InTotal(waiting_max));
        }
        let (sender, receiver) = oneshot::channel();
        match self.round.iter_mut().find(|waiting| waiting.requester == requester) {
            Some(waiting) => waiting.requests.push_back(sender),
            None => self.round.push_back(Waiting { requester, requests: VecDeque::from([sender]) }),
        }
        self.len += 1;
        Ok(receiver)
    }

    /// Removes the oldest request of the requester whose turn it is, and gives the turn to the next.
    fn pop(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.remove_cancelled();
        let mut waiting = self.round.pop_front()?;
        let next = waiting.requests.pop_front();
        self.len -= usize::from(next.is_some());
        if !waiting.requests.is_empty() {
            self.round.push_back(waiting);
        }
        next
    }

    fn remove_cancelled(&mut self) {
        for waiting in &mut self.round {
            waiting.requests.retain(|request| !request.is_closed());
        }
        self.round.retain(|waiting| !waiting.requests.is_empty());
        self.len = self.round.iter().map(|waiting| waiting.requests.len()).sum();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn client(number: u8) -> Requester {
        Requester::Client(std::net::IpAddr::from([192, 0, 2, number]).into())
    }

    fn queue(slots: usize, waiting_max: usize) -> SlotQueue {
        SlotQueue::new(NonZeroUsize::new(slots).unwrap(), waiting_max)
    }

    #[tokio::test]
    async fn a_flood_of_one_client_delays_another_by_one_slot() {
        let queue = queue(1, 64);
        let held = queue.slot(client(1)).await.unwrap();
        let served = Mutex::new(vec![]);
        let wait = |number: u8| {
            let (queue, served) = (&queue, &served);
            async move {
                let slot = queue.slot(client(number)).await.unwrap();
                served.lock().unwrap().push(number);
                drop(slot);
            }
        };
        let mut all = pin!(join_all([1, 1, 1, 2, 3].map(wait)));
        assert!(all.as_mut().now_or_never().is_none(), "all wait");
        drop(held);
        all.await;
        assert_eq!(*served.lock().unwrap(), [1, 2, 3, 1, 1]);
    }

    #[tokio::test]
    async fn one_client_gets_a_quarter_of_the_queue_and_all_together_no_more_than_it_holds() {
        let queue = queue(1, 8);
        let _held = queue.slot(client(1)).await.unwrap();
        let mut waiting = vec![];
        let mut wait = |number: u8| {
            let queue = queue.clone();
            let mut slot = Box::pin(async move { queue.slot(client(number)).await.map(drop) });
            let refused = slot.as_mut().now_or_never();
            waiting.push(slot);
            refused
        };
        for number in 1..=4 {
            assert_eq!((wait(number), wait(number)), (None, None));
            assert!(matches!(wait(number), Some(Err(QueueFull::ForRequester(2)))));
        }
        assert!(matches!(wait(5), Some(Err(QueueFull::InTotal(8)))));
    }

    #[tokio::test]
    async fn a_cancelled_request_leaves_the_queue() {
        let queue = queue(1, 4);
        let held = queue.slot(client(1)).await.unwrap();
        for _ in 0..100 {
            assert!(queue.slot(client(2)).now_or_never().is_none(), "it waits, and is dropped");
        }
        let mut last = pin!(queue.slot(client(2)));
        assert!(last.as_mut().now_or_never().is_none());
        drop(held);
        last.await.unwrap();
        queue.slot(client(3)).await.unwrap();
    }
}
