//! Declaration of the exchange and the queues on a broker.
//!
//! ```text
//!                        +- "due" ----> <prefix>.jobs --- rejected, or requeued too often --+
//! publisher --> <prefix> |                                                                  |
//!                        +- "parked" -> <prefix>.parked <-----------------------------------+
//! ```
//!
//! Declaring is idempotent and happens on every connection, so a new broker, a deleted queue or a restored
//! backup needs no manual work. The arguments of an existing queue cannot be changed: the broker refuses the
//! declaration. Then delete the queue, or choose another prefix; the dispatcher publishes the jobs again.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use thiserror::Error;

use super::connection::Link;

/// Routing key of jobs.
const DUE: &str = "due";
/// Routing key of parked messages.
const PARKED: &str = "parked";

/// Maximum number of jobs in the queue, about 250 MB: protects the broker's memory and disk, and is far above
/// the number that the concurrency limits of destinations allow the dispatcher to release.
const JOBS_MAX: u32 = 1_000_000;
/// Maximum number of parked messages; the oldest are dropped first.
const PARKED_MAX: u32 = 10_000;
/// Number of redeliveries after which a job is parked: a job that crashes its worker would otherwise crash
/// one after the other. High enough not to be reached by workers that are restarted repeatedly and return
/// jobs they did not receive.
const REDELIVERIES_MAX: u32 = 20;
/// Number of replicas of a queue, if the cluster has as many nodes: one node may fail.
const REPLICAS: u32 = 3;

/// Prefix of every name on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePrefix(String);

/// Error of an invalid prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} cannot begin the name of a queue: use 1 to 100 letters, digits, '.', '_' or '-'")]
pub struct InvalidQueuePrefix(String);

impl QueuePrefix {
    /// Checks a prefix.
    ///
    /// # Errors
    /// When it is not 1 to 100 letters, digits, '.', '_' or '-', or is reserved by the broker.
    pub fn new(prefix: impl Into<String>) -> Result<Self, InvalidQueuePrefix> {
        let prefix = prefix.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // The broker reserves names with this prefix.
        let reserved = prefix.starts_with("amq.");
        if (1..=100).contains(&prefix.len()) && prefix.chars().all(allowed) && !reserved {
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

/// Error of a declaration.
#[derive(Debug, Error)]
#[error("{what} {name:?} cannot be declared")]
pub struct TopologyFailure {
    what: &'static str,
    name: String,
    #[source]
    cause: lapin::Error,
}

/// Names of the exchange and the queues.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) exchange: ShortString,
    /// Routing key of jobs.
    pub(super) due: ShortString,
    /// Queue of jobs.
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

    /// Declares everything, on a channel of its own because a refused declaration closes the channel.
    pub(super) async fn declare(&self, link: &Link) -> Result<(), TopologyFailure> {
        let failed = |what, name: &ShortString| {
            let name = name.to_string();
            move |cause| TopologyFailure { what, name, cause }
        };
        let channel = link.channel().await.map_err(failed("exchange", &self.exchange))?;

        let exchange = ExchangeDeclareOptions {
            passive: false,     // create it if it is missing
            durable: true,      // it survives a restart of the broker, as its queues do
            auto_delete: false, // it is kept when the last queue is unbound for a moment
            internal: false,    // clients publish to it
            nowait: false,      // a refusal must be seen
        };
        // Direct: a job goes to the queue that its routing key names. With an exchange, jobs can later be
        // spread over several queues without a change of the publishers.
        channel
            .exchange_declare(self.exchange.clone(), ExchangeKind::Direct, exchange, FieldTable::default())
            .await
            .map_err(failed("exchange", &self.exchange))?;

        let queue = QueueDeclareOptions {
            passive: false,     // create it if it is missing
            durable: true,      // required for quorum queues
            exclusive: false,   // several connections consume
            auto_delete: false, // jobs wait while no worker is running
            nowait: false,      // a refusal must be seen
        };
        // Replicated, on disk before a publish is confirmed, and with a count of redeliveries.
        let mut jobs = quorum_queue(JOBS_MAX);
        // When full, refuse publishes (the log has the events) instead of dropping confirmed jobs.
        jobs.insert("x-overflow".into(), text("reject-publish"));
        // Destination of messages that are rejected or were requeued too often. At-most-once dead-lettering,
        // the default, may lose a message if the broker fails at that moment. That is acceptable: parked
        // messages are for manual inspection, and the dispatcher publishes the event of a parked job again.
        jobs.insert("x-dead-letter-exchange".into(), text(self.exchange.as_str()));
        jobs.insert("x-dead-letter-routing-key".into(), text(PARKED));
        // Newer brokers have another default limit.
        jobs.insert("x-delivery-limit".into(), AMQPValue::LongUInt(REDELIVERIES_MAX));
        channel.queue_declare(self.jobs.clone(), queue, jobs).await.map_err(failed("queue", &self.jobs))?;

        // When full, the oldest messages are dropped ("drop-head", the default). No limit of redeliveries: a
        // person may inspect a parked message any number of times.
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
