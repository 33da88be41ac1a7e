//! The type of the queue of jobs: what the broker keeps of them, and what a publish waits for.

use std::str::FromStr;

use lapin::types::{AMQPValue, FieldTable};

/// Maximum number of jobs in a quorum queue, about 250 MB: protects the broker's memory and disk, and is far above
/// the number that the dispatcher releases. A publish to a full queue is refused.
const QUORUM_JOBS_MAX: u32 = 1_000_000;
/// Maximum number of jobs in a transient queue, about 25 MB; the oldest are dropped first, because without confirms
/// a refusal would not be noticed. The dispatcher has few jobs on the queue, so those are copies or void.
const TRANSIENT_JOBS_MAX: u32 = 100_000;
/// Number of redeliveries after which a quorum queue parks a job: a job that crashes its worker would otherwise crash
/// one after the other. High enough not to be reached by workers that are restarted repeatedly and return
/// jobs they did not receive.
const REDELIVERIES_MAX: u32 = 20;
/// Number of replicas of a quorum queue, if the cluster has as many nodes: one node may fail.
const REPLICAS: u32 = 3;

/// Type of the queue of jobs. Dispatchers and workers of an installation need the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// A classic queue of transient messages, on one node. A publish ends when its jobs are sent; what the broker loses
    /// is published again.
    #[default]
    Transient,
    /// A quorum queue. A publish ends when its jobs are on the disks of a majority of the queue's nodes.
    Quorum,
}

/// Error of an unknown type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be transient or quorum")]
pub struct UnknownQueueType;

impl FromStr for QueueType {
    type Err = UnknownQueueType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|queue_type| queue_type.name() == text).ok_or(UnknownQueueType)
    }
}

impl QueueType {
    pub const ALL: [Self; 2] = [Self::Transient, Self::Quorum];

    fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Quorum => "quorum",
        }
    }

    /// End of the queue's name. The types have different ones because the arguments of a queue cannot be changed.
    pub(super) fn queue_name(self) -> &'static str {
        match self {
            Self::Transient => "transient-jobs",
            Self::Quorum => "jobs",
        }
    }

    /// Routing key of jobs. The types have different ones, so that a queue of the other type gets none.
    pub(super) fn routing_key(self) -> &'static str {
        match self {
            Self::Transient => "due-transient",
            Self::Quorum => "due",
        }
    }

    /// Whether the broker confirms publishes.
    pub(super) fn confirms(self) -> bool {
        self == Self::Quorum
    }

    /// Delivery mode of jobs.
    pub(super) fn delivery_mode(self) -> u8 {
        match self {
            // In memory. The queue itself is durable: RabbitMQ 4 deprecates queues that are neither durable nor
            // exclusive.
            Self::Transient => 1,
            // Written to disk, on a majority of the queue's nodes, before they are confirmed.
            Self::Quorum => 2,
        }
    }

    /// Arguments of the queue, without those of dead letters.
    pub(super) fn arguments(self) -> FieldTable {
        match self {
            Self::Transient => {
                let mut arguments = FieldTable::default();
                // A virtual host may have another default.
                arguments.insert("x-queue-type".into(), text("classic"));
                arguments.insert("x-max-length".into(), AMQPValue::LongUInt(TRANSIENT_JOBS_MAX));
                arguments
            }
            Self::Quorum => {
                let mut arguments = quorum_queue(QUORUM_JOBS_MAX);
                // When full, refuse publishes (the log has the events) instead of dropping confirmed jobs.
                arguments.insert("x-overflow".into(), text("reject-publish"));
                // Newer brokers have another default limit.
                arguments.insert("x-delivery-limit".into(), AMQPValue::LongUInt(REDELIVERIES_MAX));
                arguments
            }
        }
    }
}

/// Returns the arguments of a quorum queue: replicated, and with a count of redeliveries.
pub(super) fn quorum_queue(length_max: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongUInt(REPLICAS));
    arguments.insert("x-max-length".into(), AMQPValue::LongUInt(length_max));
    arguments
}

pub(super) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
