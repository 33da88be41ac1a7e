//! Limit of the concurrent attempts of a worker and of the memory of their payloads.
//!
//! An attempt that waits for its receiver costs a task, a socket and its payload. So memory is bounded, and
//! the number of attempts only far above the usual one: if it were scarce, a few destinations that hang would
//! use all permits, and the others would wait for their timeouts.
//!
//! The size of a payload is known when the attempt has been claimed. So jobs are received while the payloads
//! are below their limit, and the number of jobs whose claim is pending is limited: at most that many
//! payloads exceed the limit.

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Maximum number of jobs whose claim is pending. One group commit claims all of them.
const PENDING_CLAIMS_MAX: usize = 64;

/// Concurrency limit of a worker.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    attempts: Arc<Semaphore>,
    pending_claims: Arc<Semaphore>,
    payload_bytes: watch::Sender<usize>,
    payload_bytes_max: usize,
}

/// Permit for one job, held until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    pending_claim: Option<OwnedSemaphorePermit>,
    payload_bytes: usize,
    total_payload_bytes: watch::Sender<usize>,
    _attempt: OwnedSemaphorePermit,
}

impl ConcurrencyLimit {
    pub(super) fn new(attempts_max: NonZeroU16, payload_bytes_max: usize) -> Self {
        Self {
            attempts: Arc::new(Semaphore::new(usize::from(attempts_max.get()))),
            pending_claims: Arc::new(Semaphore::new(PENDING_CLAIMS_MAX)),
            payload_bytes: watch::Sender::new(0),
            payload_bytes_max,
        }
    }

    /// Waits for a permit. Never `None`: the semaphores are not closed, and `self` owns the sender.
    pub(super) async fn acquire(&self) -> Option<Permit> {
        let attempt = Arc::clone(&self.attempts).acquire_owned().await.ok()?;
        let pending_claim = Arc::clone(&self.pending_claims).acquire_owned().await.ok()?;
        let mut payload_bytes = self.payload_bytes.subscribe();
        payload_bytes.wait_for(|bytes| *bytes < self.payload_bytes_max).await.ok()?;
        Some(Permit {
            pending_claim: Some(pending_claim),
            payload_bytes: 0,
            total_payload_bytes: self.payload_bytes.clone(),
            _attempt: attempt,
        })
    }
}

impl Permit {
    /// Records that the claim is no longer pending, with the size of the payload; 0 when it was not granted.
    pub(super) fn claimed(&mut self, payload_bytes: usize) {
        self.payload_bytes += payload_bytes;
        self.total_payload_bytes.send_modify(|bytes| *bytes += payload_bytes);
        self.pending_claim = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.total_payload_bytes.send_modify(|bytes| *bytes -= self.payload_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    fn limit(attempts_max: u16, payload_bytes_max: usize) -> ConcurrencyLimit {
        ConcurrencyLimit::new(NonZeroU16::new(attempts_max).unwrap(), payload_bytes_max)
    }

    #[tokio::test]
    async fn a_job_waits_for_the_end_of_another_at_the_limit_of_attempts() {
        let limit = limit(2, 100);
        let one = limit.acquire().await.unwrap();
        let _other = limit.acquire().await.unwrap();
        let mut third = pin!(limit.acquire());
        assert!(poll!(&mut third).is_pending());
        drop(one);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn a_job_waits_at_the_limit_of_payload_bytes() {
        let limit = limit(10, 100);
        let mut large = limit.acquire().await.unwrap();
        large.claimed(99);
        let mut small = limit.acquire().await.unwrap();
        small.claimed(1);
        let mut third = pin!(limit.acquire());
        assert!(poll!(&mut third).is_pending());
        drop(small);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn the_number_of_payloads_of_unknown_size_is_limited() {
        let limit = limit(1_000, 100);
        let mut unknown = Vec::new();
        for _ in 0..PENDING_CLAIMS_MAX {
            unknown.push(limit.acquire().await.unwrap());
        }
        let mut next = pin!(limit.acquire());
        assert!(poll!(&mut next).is_pending());
        // The claim was not granted, so there is no payload.
        unknown[0].claimed(0);
        next.await.unwrap();
    }
}
