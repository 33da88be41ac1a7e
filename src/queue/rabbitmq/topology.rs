//! Everything that HookSentry declares on a broker, in one place.
//!
//! ```text
//!                        +- "due" ----> <prefix>.jobs --- rejected, or returned too often --+
//! publisher --> <prefix> |                                                                  |
//!                        +- "parked" -> <prefix>.parked <-----------------------------------+
//! ```
//!
//! Declaring is idempotent and happens on every connection, so that a new broker, a deleted queue or a
//! restored backup needs no hand. Arguments cannot be changed on a queue that exists: the broker refuses
//! the declaration. Then delete the queue, or choose another prefix; the log fills it again.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use thiserror::Error;

use super::connection::Link;

/// Routing key of jobs to do.
const DUE: &str = "due";
/// Routing key of messages set aside.
const PARKED: &str = "parked";

/// Jobs in the queue, at most: a last defence of the broker's memory and disk, far above what the
/// destinations' limits let the dispatcher release at a time. About 250 MB.
const JOBS_MAX: u32 = 1_000_000;
/// Parked messages that are kept, at most; the oldest go first.
const PARKED_MAX: u32 = 10_000;
/// Times a job may come back before it is parked: a job that takes its worker down with it would
/// otherwise take down one after the other. High enough that workers which are restarted again and again
/// do not reach it by handing back what they did not take.
const REDELIVERIES_MAX: u32 = 20;
/// Copies of a queue, where the cluster has as many nodes: one node may fail.
const REPLICAS: u32 = 3;

/// The beginning of every name on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePrefix(String);

/// A prefix that cannot name a queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} cannot begin the name of a queue: use 1 to 100 letters, digits, '.', '_' or '-'")]
pub struct InvalidQueuePrefix(String);

impl QueuePrefix {
    /// Parses a prefix.
    pub fn new(prefix: impl Into<String>) -> Result<Self, InvalidQueuePrefix> {
        let prefix = prefix.into();
        let speakable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // The broker keeps names that begin so for itself.
        let reserved = prefix.starts_with("amq.");
        if (1..=100).contains(&prefix.len()) && prefix.chars().all(speakable) && !reserved {
            Ok(Self(prefix))
        } else {
            Err(InvalidQueuePrefix(prefix))
        }
    }
}

impl Default for QueuePrefix {
    fn default() -> Self {
        Self("hooksentry".to_owned())
    }
}

/// The topology could not be declared.
#[derive(Debug, Error)]
#[error("{what} {name:?} cannot be declared")]
pub struct TopologyFailure {
    what: &'static str,
    name: String,
    #[source]
    cause: lapin::Error,
}

/// The names of what is declared.
#[derive(Debug)]
pub(super) struct Topology {
    /// Where jobs are published.
    pub(super) exchange: ShortString,
    /// With which routing key.
    pub(super) due: ShortString,
    /// Where they are consumed.
    pub(super) jobs: ShortString,
    parked: ShortString,
}

impl Topology {
    pub(super) fn new(QueuePrefix(prefix): &QueuePrefix) -> Self {
        Self {
            exchange: prefix.as_str().into(),
            due: DUE.into(),
            jobs: format!("{prefix}.jobs").into(),
            parked: format!("{prefix}.parked").into(),
        }
    }

    /// Declares everything. Uses a channel of its own, because a declaration that is refused closes it.
    pub(super) async fn declare(&self, link: &Link) -> Result<(), TopologyFailure> {
        let failed = |what, name: &ShortString| {
            let name = name.to_string();
            move |cause| TopologyFailure { what, name, cause }
        };
        let channel = link.channel().await.map_err(failed("exchange", &self.exchange))?;

        let exchange = ExchangeDeclareOptions {
            passive: false,     // create it if it is missing
            durable: true,      // it outlives the broker's restart, as its queues do
            auto_delete: false, // and it stays when the last queue is unbound for a moment
            internal: false,    // clients publish to it
            nowait: false,      // a refusal must be seen
        };
        // Direct: a job goes to the one queue that its routing key names. The exchange stands between so
        // that jobs can be spread over several queues one day without touching the publishers.
        channel
            .exchange_declare(self.exchange.clone(), ExchangeKind::Direct, exchange, FieldTable::default())
            .await
            .map_err(failed("exchange", &self.exchange))?;

        let queue = QueueDeclareOptions {
            passive: false,     // create it if it is missing
            durable: true,      // quorum queues are durable or nothing
            exclusive: false,   // several connections consume
            auto_delete: false, // jobs wait while no worker is up
            nowait: false,      // a refusal must be seen
        };
        // Replicated, on disk before a publish is confirmed, and with a count of redeliveries.
        let mut jobs = quorum_queue(JOBS_MAX);
        // When full, refuse the publisher (who has the log) instead of dropping what was confirmed.
        jobs.insert("x-overflow".into(), text("reject-publish"));
        // Where messages go that are rejected or came back too often. "At most once", the default, may
        // lose one on its way if the broker fails right then. That is all right: parked messages are for
        // a person to look at, and the event of a parked job is safe in the log, from which the
        // dispatcher publishes it again.
        jobs.insert("x-dead-letter-exchange".into(), text(self.exchange.as_str()));
        jobs.insert("x-dead-letter-routing-key".into(), text(PARKED));
        // Newer brokers have a limit of their own; all shall have the same.
        jobs.insert("x-delivery-limit".into(), AMQPValue::LongUInt(REDELIVERIES_MAX));
        channel.queue_declare(self.jobs.clone(), queue, jobs).await.map_err(failed("queue", &self.jobs))?;

        // When full, the oldest give way ("drop-head", the default). No limit of redeliveries: a person
        // may look at a parked message as often as she likes.
        channel
            .queue_declare(self.parked.clone(), queue, quorum_queue(PARKED_MAX))
            .await
            .map_err(failed("queue", &self.parked))?;

        for (name, key) in [(&self.jobs, DUE), (&self.parked, PARKED)] {
            channel
                .queue_bind(
                    name.clone(),
                    self.exchange.clone(),
                    key.into(),
                    QueueBindOptions { nowait: false }, // a refusal must be seen
                    FieldTable::default(),
                )
                .await
                .map_err(failed("queue", name))?;
        }
        Ok(())
    }
}

fn quorum_queue(length_max: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongUInt(REPLICAS));
    arguments.insert("x-max-length".into(), AMQPValue::LongUInt(length_max));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_short_and_plain() {
        for fine in ["hooksentry", "test-7.blue_1", &"x".repeat(100)] {
            assert!(QueuePrefix::new(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "two words", "näh", "amq.mine", &"x".repeat(101)] {
            assert!(QueuePrefix::new(wrong).is_err(), "{wrong}");
        }
    }
}
