//! ConcurrencyLimit: how much a worker takes on at once.
//!
//! An attempt that waits for its receiver costs a task, a socket and its payload, so what is bounded is
//! memory and, far above what usually is under way, the number of attempts. Were the number scarce, a few
//! destinations that hang would take all of it, and everybody else would wait for their timeouts.
//!
//! How large a payload is turns out when the attempt is announced. So a job is taken while the payloads in
//! hand are below their bound, and only a few are between the one and the other: at most that many payloads
//! are in hand beyond the bound.

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Jobs that were taken and whose attempts are being announced, at most. A commit announces all of them.
const ANNOUNCING_MAX: usize = 64;

/// The room of one worker.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    places: Arc<Semaphore>,
    announcing: Arc<Semaphore>,
    payload_bytes: watch::Sender<usize>,
    payload_bytes_max: usize,
}

/// A place for one job, taken until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    announcing: Option<OwnedSemaphorePermit>,
    payload_bytes: usize,
    in_hand: watch::Sender<usize>,
    _place: OwnedSemaphorePermit,
}

impl ConcurrencyLimit {
    /// ConcurrencyLimit for so many jobs with so many bytes of payloads.
    pub(super) fn new(jobs_max: NonZeroU16, payload_bytes_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(usize::from(jobs_max.get()))),
            announcing: Arc::new(Semaphore::new(ANNOUNCING_MAX)),
            payload_bytes: watch::Sender::new(0),
            payload_bytes_max,
        }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Option<Permit> {
        // Nobody closes the semaphores, and the sender lives in `self`.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let announcing = Arc::clone(&self.announcing).acquire_owned().await.ok()?;
        let mut payload_bytes = self.payload_bytes.subscribe();
        payload_bytes.wait_for(|bytes| *bytes < self.payload_bytes_max).await.ok()?;
        Some(Permit {
            announcing: Some(announcing),
            payload_bytes: 0,
            in_hand: self.payload_bytes.clone(),
            _place: place,
        })
    }
}

impl Permit {
    /// Notes that the attempt was announced, and how much it brought along; or that it was not, and will
    /// bring nothing.
    pub(super) fn announced(&mut self, payload_bytes: usize) {
        self.payload_bytes += payload_bytes;
        self.in_hand.send_modify(|bytes| *bytes += payload_bytes);
        self.announcing = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_hand.send_modify(|bytes| *bytes -= self.payload_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    fn room(jobs_max: u16, payload_bytes_max: usize) -> ConcurrencyLimit {
        ConcurrencyLimit::new(NonZeroU16::new(jobs_max).unwrap(), payload_bytes_max)
    }

    #[tokio::test]
    async fn a_job_waits_for_the_end_of_another_when_all_places_are_taken() {
        let room = room(2, 100);
        let one = room.place().await.unwrap();
        let _other = room.place().await.unwrap();
        let mut third = pin!(room.place());
        assert!(poll!(&mut third).is_pending());
        drop(one);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn a_job_waits_while_the_payloads_in_hand_are_too_large_together() {
        let room = room(10, 100);
        let mut large = room.place().await.unwrap();
        large.announced(99);
        let mut small = room.place().await.unwrap();
        small.announced(1);
        let mut third = pin!(room.place());
        assert!(poll!(&mut third).is_pending());
        drop(small);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn payloads_of_unknown_size_are_few() {
        let room = room(1_000, 100);
        let mut unknown = Vec::new();
        for _ in 0..ANNOUNCING_MAX {
            unknown.push(room.place().await.unwrap());
        }
        let mut next = pin!(room.place());
        assert!(poll!(&mut next).is_pending());
        // It was dropped before it began, and has no payload.
        unknown[0].announced(0);
        next.await.unwrap();
    }
}
