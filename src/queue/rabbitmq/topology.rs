//! Declaration of the exchange and the queues on a broker.
//!
//! ```text
//!                        +- "due-transient" --> <prefix>.transient-jobs --+
//!                        |  or "due" ---------> <prefix>.jobs ------------+- rejected, dropped, or requeued too often
//! publisher --> <prefix> |                                                |
//!                        +- "parked" ---------> <prefix>.parked <---------+
//!                        +- "lost" -----------> <prefix>.losses.<random> of each publisher
//! ```
//!
//! Declaring is idempotent and happens on every connection, so a new broker, a deleted queue or a restored
//! backup needs no manual work. A process that finds the queue of jobs missing declares it and sends a message with
//! the key "lost" to all publishers: the queue exists again then, so they would not notice.
//!
//! The arguments of an existing queue cannot be changed: the broker refuses the
//! declaration. Then delete the queue, or choose another prefix; the dispatcher publishes the jobs again.

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ErrorKind, ExchangeKind};
use thiserror::Error;

use super::connection::Link;
use super::queue_type::{QueueType, quorum_queue, text};

/// Routing key of parked messages.
const PARKED: &str = "parked";
/// Routing key of the message that the queue of jobs was missing.
const LOST: &str = "lost";

/// Maximum number of parked messages; the oldest are dropped first.
const PARKED_MAX: u32 = 10_000;
/// Messages that the queue was missing which wait for a publisher. One says as much as several.
const LOSSES_MAX: u32 = 1;

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
    pub(super) queue_type: QueueType,
    pub(super) exchange: ShortString,
    /// Routing key of jobs.
    pub(super) due: ShortString,
    /// Queue of jobs.
    pub(super) jobs: ShortString,
    parked: ShortString,
}

impl Topology {
    pub(super) fn new(QueuePrefix(prefix): &QueuePrefix, queue_type: QueueType) -> Self {
        Self {
            queue_type,
            exchange: prefix.as_str().into(),
            due: queue_type.routing_key().into(),
            jobs: format!("{prefix}.{}", queue_type.queue_name()).into(),
            parked: format!("{prefix}.parked").into(),
        }
    }

    /// Declares everything, on a channel of its own because a refused declaration closes the channel. If the queue of
    /// jobs was missing, all publishers get a message.
    pub(super) async fn declare(&self, link: &Link) -> Result<(), TopologyFailure> {
        let failed = |what, name: &ShortString| {
            let name = name.to_string();
            move |cause| TopologyFailure { what, name, cause }
        };
        let mut channel = link.channel().await.map_err(failed("queue", &self.jobs))?;
        let was_there = self.has_jobs_queue(&channel).await.map_err(failed("queue", &self.jobs))?;
        if !was_there {
            channel = link.channel().await.map_err(failed("exchange", &self.exchange))?;
        }

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
        let mut jobs = self.queue_type.arguments();
        // Destination of messages that are rejected, dropped or were requeued too often. At-most-once dead-lettering,
        // the default, may lose a message if the broker fails at that moment. That is acceptable: parked
        // messages are for manual inspection, and the dispatcher publishes the event of a parked job again.
        jobs.insert("x-dead-letter-exchange".into(), text(self.exchange.as_str()));
        jobs.insert("x-dead-letter-routing-key".into(), text(PARKED));
        channel.queue_declare(self.jobs.clone(), queue, jobs).await.map_err(failed("queue", &self.jobs))?;

        // When full, the oldest messages are dropped ("drop-head", the default). No limit of redeliveries: a
        // person may inspect a parked message any number of times.
        channel
            .queue_declare(self.parked.clone(), queue, quorum_queue(PARKED_MAX))
            .await
            .map_err(failed("queue", &self.parked))?;

        for (name, key) in [(&self.jobs, &self.due), (&self.parked, &PARKED.into())] {
            self.bind(&channel, name, key.clone()).await.map_err(failed("queue", name))?;
        }
        if !was_there {
            let (exchange, options) = (self.exchange.clone(), BasicPublishOptions::default());
            channel
                .basic_publish(exchange, LOST.into(), options, &[], BasicProperties::default())
                .await
                .map_err(failed("queue", &self.jobs))?;
        }
        Ok(())
    }

    async fn bind(
        &self,
        channel: &Channel,
        queue: &ShortString,
        key: ShortString,
    ) -> Result<(), lapin::Error> {
        let options = QueueBindOptions { nowait: false }; // a refusal must be seen
        channel.queue_bind(queue.clone(), self.exchange.clone(), key, options, FieldTable::default()).await
    }

    /// Returns whether the broker has the queue of jobs. If not, the broker has closed the channel.
    pub(super) async fn has_jobs_queue(&self, channel: &Channel) -> Result<bool, lapin::Error> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(self.jobs.clone(), passive, FieldTable::default()).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Receives a message whenever the queue of jobs was missing and has been declared again.
    pub(super) async fn subscribe_to_losses(&self, link: &Link) -> Result<lapin::Consumer, lapin::Error> {
        let channel = link.channel().await?;
        let queue = QueueDeclareOptions {
            passive: false,    // create it
            durable: false,    // it is of use to this connection only
            exclusive: true,   // it ends with the connection
            auto_delete: true, // or with the consumer
            nowait: false,     // a refusal must be seen
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("classic"));
        arguments.insert("x-max-length".into(), AMQPValue::LongUInt(LOSSES_MAX));
        // A broker that has not noticed the end of an earlier connection still has its queue.
        let name: ShortString = format!("{}.losses.{:016x}", self.exchange, rand::random::<u64>()).into();
        channel.queue_declare(name.clone(), queue, arguments).await?;
        self.bind(&channel, &name, LOST.into()).await?;
        let options = BasicConsumeOptions {
            no_local: false, // the broker ignores it
            no_ack: true,    // nothing is to be done again after a lost connection
            exclusive: true, // there is no other consumer
            nowait: false,   // a refusal must be seen
        };
        channel.basic_consume(name, "".into(), options, FieldTable::default()).await
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    let not_found = AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND);
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == not_found)
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
