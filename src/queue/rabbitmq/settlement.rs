//! Verdicts of workers become frames to the broker, few for many.
//!
//! Workers finish out of order. What came in while the last frames were written is settled together: the
//! oldest jobs without a gap by one acknowledgement that covers them all, the others each by its own, and
//! nothing waits for company.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use metrics::counter;
use tokio::sync::mpsc;

use crate::queue::Job;
use crate::queue::delivery::{Settle, Verdict};

/// Verdicts that are settled together, at most.
const BATCH_MAX: usize = 1_024;

/// Where the deliveries of one channel send their verdicts. Tags mean nothing on another channel, so each
/// channel has its own, and verdicts for one that is gone fall into the void.
pub(super) struct Settler {
    verdicts: mpsc::UnboundedSender<(u64, Verdict)>,
}

impl Settler {
    /// Not bounded by itself: there is at most one verdict for each job in hand.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<(u64, Verdict)>) {
        let (verdicts, settled) = mpsc::unbounded_channel();
        (Self { verdicts }, settled)
    }

    pub(super) fn pass(&self, tag: u64, verdict: Verdict) {
        // Without a receiver the channel is gone, and the broker hands the job out again.
        let _ = self.verdicts.send((tag, verdict));
    }
}

impl Settle for Settler {
    fn settle(&self, tag: u64, _: &Job, verdict: Verdict) {
        self.pass(tag, verdict);
    }
}

/// Settles until every [`Settler`] and every delivery of the channel is gone.
pub(super) async fn settle(
    channel: &Channel,
    mut verdicts: mpsc::UnboundedReceiver<(u64, Verdict)>,
) -> Result<(), lapin::Error> {
    let mut window = Window::default();
    let mut batch = Vec::new();
    while verdicts.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let frames = window.frames(&mut batch);
        // First what must not be acknowledged: an acknowledgement of many covers all tags below its own.
        try_join_all(
            frames
                .handed_back
                .iter()
                .map(|&tag| channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true })),
        )
        .await?;
        try_join_all(frames.parked.iter().map(|&tag| {
            channel.basic_reject(tag, BasicRejectOptions { requeue: false }) // dead-lettered to the parking queue
        }))
        .await?;
        try_join_all(
            frames
                .acks
                .iter()
                .map(|ack| channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.and_all_before })),
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
    and_all_before: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Frames {
    handed_back: Vec<u64>,
    parked: Vec<u64>,
    acks: Vec<Ack>,
    /// Jobs that the acks cover.
    acknowledged: u64,
}

/// Which tags of a channel are settled. The broker numbers what it hands out from 1, without gaps.
#[derive(Debug, Default)]
struct Window {
    /// This tag and all before it are settled.
    settled_to: u64,
    /// Later tags that are settled.
    settled_beyond: BTreeSet<u64>,
}

impl Window {
    /// The frames that carry out `verdicts`, which are taken.
    fn frames(&mut self, verdicts: &mut Vec<(u64, Verdict)>) -> Frames {
        let mut frames = Frames::default();
        let mut done = Vec::new();
        for (tag, verdict) in verdicts.drain(..) {
            self.settled_beyond.insert(tag);
            match verdict {
                Verdict::Done => done.push(tag),
                Verdict::HandBack => frames.handed_back.push(tag),
                Verdict::Park => frames.parked.push(tag),
            }
        }
        while self.settled_beyond.remove(&(self.settled_to + 1)) {
            self.settled_to += 1;
        }
        frames.acknowledged = done.len() as u64;
        let (covered, beyond): (Vec<_>, Vec<_>) = done.into_iter().partition(|&tag| tag <= self.settled_to);
        if let Some(&tag) = covered.iter().max() {
            frames.acks.push(Ack { tag, and_all_before: covered.len() > 1 });
        }
        frames.acks.extend(beyond.into_iter().map(|tag| Ack { tag, and_all_before: false }));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tag: u64) -> Ack {
        Ack { tag, and_all_before: false }
    }

    fn all_to(tag: u64) -> Ack {
        Ack { tag, and_all_before: true }
    }

    /// The acks for batches of jobs that are done.
    fn acks(batches: &[&[u64]]) -> Vec<Vec<Ack>> {
        let mut window = Window::default();
        batches
            .iter()
            .map(|tags| window.frames(&mut tags.iter().map(|&tag| (tag, Verdict::Done)).collect()).acks)
            .collect()
    }

    #[test]
    fn jobs_without_a_gap_share_an_acknowledgement() {
        assert_eq!(acks(&[&[1, 2, 3], &[4, 5]]), [[all_to(3)], [all_to(5)]]);
    }

    #[test]
    fn order_within_a_batch_does_not_matter() {
        assert_eq!(acks(&[&[3, 1, 2]]), [[all_to(3)]]);
    }

    #[test]
    fn a_lone_job_is_acknowledged_alone() {
        assert_eq!(acks(&[&[1], &[2]]), [[one(1)], [one(2)]]);
    }

    #[test]
    fn a_job_beyond_a_gap_does_not_wait_for_it() {
        assert_eq!(
            acks(&[&[1, 2, 4, 6], &[3], &[5, 7]]),
            [vec![all_to(2), one(4), one(6)], vec![one(3)], vec![all_to(7)]]
        );
    }

    #[test]
    fn what_is_not_done_is_never_covered_by_an_acknowledgement() {
        let mut window = Window::default();
        let mut batch =
            vec![(1, Verdict::Done), (2, Verdict::HandBack), (3, Verdict::Park), (4, Verdict::Done)];
        let frames = window.frames(&mut batch);
        // The broker has settled 2 and 3 by the time it sees the acknowledgement up to 4.
        assert_eq!(
            frames,
            Frames { handed_back: vec![2], parked: vec![3], acks: vec![all_to(4)], acknowledged: 2 }
        );
        assert_eq!(window.settled_to, 4);
        assert!(batch.is_empty());
    }

    #[test]
    fn an_acknowledgement_names_a_tag_that_is_still_open() {
        let mut window = Window::default();
        // 2 is acknowledged on its own; the broker would refuse to hear of it again.
        assert_eq!(window.frames(&mut vec![(2, Verdict::Done)]).acks, [one(2)]);
        assert_eq!(window.frames(&mut vec![(1, Verdict::Done)]).acks, [one(1)]);
        assert_eq!(window.settled_to, 2);
        assert!(window.settled_beyond.is_empty());
    }
}
