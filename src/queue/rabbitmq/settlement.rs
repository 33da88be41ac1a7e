//! Settling jobs at the broker, many with one frame.
//!
//! Workers settle jobs out of order. All settlements that arrived while the last frames were written are sent
//! together: one acknowledgement covers the oldest jobs up to the first gap, and each later job gets its own.
//! Acknowledgements are never delayed to form a batch.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use metrics::counter;
use tokio::sync::mpsc;

use crate::queue::Job;
use crate::queue::delivery::{Settle, Settlement};

/// Maximum number of settlements that are sent together.
const BATCH_MAX: usize = 1_024;

/// Handle by which the deliveries of one channel are settled. Delivery tags are valid on one channel only;
/// settlements for a closed channel are dropped.
pub(super) struct Settler {
    settlements: mpsc::UnboundedSender<(u64, Settlement)>,
}

impl Settler {
    /// The channel is unbounded: it holds at most one settlement for each prefetched job.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<(u64, Settlement)>) {
        let (settlements, receiver) = mpsc::unbounded_channel();
        (Self { settlements }, receiver)
    }

    pub(super) fn send(&self, tag: u64, settlement: Settlement) {
        // Without a receiver the channel is closed, and the broker delivers the job again.
        let _ = self.settlements.send((tag, settlement));
    }
}

impl Settle for Settler {
    fn settle(&self, tag: u64, _: &Job, settlement: Settlement) {
        self.send(tag, settlement);
    }
}

/// Sends settlements to the broker until the [`Settler`] and all deliveries of the channel are dropped.
pub(super) async fn settle(
    channel: &Channel,
    mut settlements: mpsc::UnboundedReceiver<(u64, Settlement)>,
) -> Result<(), lapin::Error> {
    let mut tags = SettledTags::default();
    let mut batch = Vec::new();
    while settlements.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let frames = tags.frames(&mut batch);
        // Requeued and parked jobs first: a multiple acknowledgement covers all lower tags that are
        // unsettled.
        try_join_all(
            frames
                .requeued
                .iter()
                .map(|&tag| channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true })),
        )
        .await?;
        try_join_all(frames.parked.iter().map(|&tag| {
            channel.basic_reject(tag, BasicRejectOptions { requeue: false }) // dead-lettered to the queue of parked messages
        }))
        .await?;
        try_join_all(
            frames
                .acks
                .iter()
                .map(|ack| channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple })),
        )
        .await?;
        counter!("hooksentry_queue_parked_total").increment(frames.parked.len() as u64);
        counter!("hooksentry_queue_acknowledged_total").increment(frames.acknowledged);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Ack {
    tag: u64,
    multiple: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Frames {
    requeued: Vec<u64>,
    parked: Vec<u64>,
    acks: Vec<Ack>,
    /// Number of jobs that the acks cover.
    acknowledged: u64,
}

/// The settled delivery tags of a channel. The broker assigns tags from 1, without gaps.
#[derive(Debug, Default)]
struct SettledTags {
    /// This tag and all before it are settled.
    settled_to: u64,
    /// Settled tags above the first gap.
    settled_beyond: BTreeSet<u64>,
}

impl SettledTags {
    /// Drains `settlements` into the frames to send for them.
    fn frames(&mut self, settlements: &mut Vec<(u64, Settlement)>) -> Frames {
        let mut frames = Frames::default();
        let mut done = Vec::new();
        for (tag, settlement) in settlements.drain(..) {
            self.settled_beyond.insert(tag);
            match settlement {
                Settlement::Ack => done.push(tag),
                Settlement::Requeue => frames.requeued.push(tag),
                Settlement::Park => frames.parked.push(tag),
            }
        }
        while self.settled_beyond.remove(&(self.settled_to + 1)) {
            self.settled_to += 1;
        }
        frames.acknowledged = done.len() as u64;
        let (covered, beyond): (Vec<_>, Vec<_>) = done.into_iter().partition(|&tag| tag <= self.settled_to);
        if let Some(&tag) = covered.iter().max() {
            frames.acks.push(Ack { tag, multiple: covered.len() > 1 });
        }
        frames.acks.extend(beyond.into_iter().map(|tag| Ack { tag, multiple: false }));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tag: u64) -> Ack {
        Ack { tag, multiple: false }
    }

    fn all_up_to(tag: u64) -> Ack {
        Ack { tag, multiple: true }
    }

    /// Returns the acks for batches of acknowledged tags.
    fn acks(batches: &[&[u64]]) -> Vec<Vec<Ack>> {
        let mut tags = SettledTags::default();
        batches
            .iter()
            .map(|batch| tags.frames(&mut batch.iter().map(|&tag| (tag, Settlement::Ack)).collect()).acks)
            .collect()
    }

    #[test]
    fn consecutive_jobs_share_an_acknowledgement() {
        assert_eq!(acks(&[&[1, 2, 3], &[4, 5]]), [[all_up_to(3)], [all_up_to(5)]]);
    }

    #[test]
    fn order_within_a_batch_does_not_matter() {
        assert_eq!(acks(&[&[3, 1, 2]]), [[all_up_to(3)]]);
    }

    #[test]
    fn a_single_job_gets_a_single_acknowledgement() {
        assert_eq!(acks(&[&[1], &[2]]), [[one(1)], [one(2)]]);
    }

    #[test]
    fn a_job_after_a_gap_is_acknowledged_at_once() {
        assert_eq!(
            acks(&[&[1, 2, 4, 6], &[3], &[5, 7]]),
            [vec![all_up_to(2), one(4), one(6)], vec![one(3)], vec![all_up_to(7)]]
        );
    }

    #[test]
    fn requeued_and_parked_jobs_are_settled_before_an_acknowledgement_covers_them() {
        let mut tags = SettledTags::default();
        let mut batch =
            vec![(1, Settlement::Ack), (2, Settlement::Requeue), (3, Settlement::Park), (4, Settlement::Ack)];
        let frames = tags.frames(&mut batch);
        // The broker has settled 2 and 3 by the time it sees the acknowledgement up to 4.
        assert_eq!(
            frames,
            Frames { requeued: vec![2], parked: vec![3], acks: vec![all_up_to(4)], acknowledged: 2 }
        );
        assert_eq!(tags.settled_to, 4);
        assert!(batch.is_empty());
    }

    #[test]
    fn an_acknowledgement_names_an_unsettled_tag() {
        let mut tags = SettledTags::default();
        // 2 is acknowledged alone; the broker would close the channel if it were acknowledged again.
        assert_eq!(tags.frames(&mut vec![(2, Settlement::Ack)]).acks, [one(2)]);
        assert_eq!(tags.frames(&mut vec![(1, Settlement::Ack)]).acks, [one(1)]);
        assert_eq!(tags.settled_to, 2);
        assert!(tags.settled_beyond.is_empty());
    }
}
