//! The job queue on a real RabbitMQ: its guarantees and its behaviour during failures.

/// Declares tests of these functions, one for each type of the queue.
macro_rules! of_both_types {
    ($($name:ident),* $(,)?) => {
        mod transient {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(hooksentry::queue::rabbitmq::QueueType::Transient).await;
                }
            )*
        }

        mod quorum {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(hooksentry::queue::rabbitmq::QueueType::Quorum).await;
                }
            )*
        }
    };
}

mod delivering;
mod failures;
mod publishing;

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use hooksentry::lifecycle::HelperTasks;
use hooksentry::queue::rabbitmq::{
    BrokerUrls, QueuePrefix, QueueType, RabbitMq, RabbitMqSettings, StartFailure,
};
use hooksentry::queue::{Deliveries, Delivery, Job, JobQueue};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::{WAIT_TIMEOUT, until};

/// A process with a job queue.
struct Process {
    queue: RabbitMq,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    async fn start(url: &str, prefix: &str, queue_type: QueueType) -> Self {
        Self::start_with(settings(url, prefix, queue_type), WAIT_TIMEOUT).await.expect("a broker")
    }

    async fn start_with(settings: RabbitMqSettings, within: Duration) -> Result<Self, StartFailure> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let queue =
            RabbitMq::connect(settings, within, &HelperTasks::tracked_by(tasks.clone()), stop.clone())
                .await?;
        Ok(Self { queue, tasks, stop })
    }

    fn consumer(&self, prefetch: u16) -> Deliveries {
        self.queue.consume(NonZeroU16::new(prefetch).unwrap(), self.stop.child_token())
    }

    /// Publishes as the dispatcher does: again after a failure.
    async fn publish(&self, jobs: &[Job]) {
        until("the jobs are published", async || self.queue.publish(jobs).await.ok()).await;
    }

    /// Stops the process, and fails the test if a task does not end.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        timeout(WAIT_TIMEOUT, self.tasks.wait()).await.expect("the end of all tasks");
    }
}

fn settings(urls: &str, prefix: &str, queue_type: QueueType) -> RabbitMqSettings {
    let (urls, prefix) = (BrokerUrls::parse(&urls.into()).unwrap(), QueuePrefix::new(prefix).unwrap());
    RabbitMqSettings { queue_type, ..RabbitMqSettings::new(urls, prefix) }
}

/// A connection that acts on the broker as a person would.
struct Operator {
    _connection: Connection,
    channel: Channel,
    prefix: String,
    queue_type: QueueType,
}

impl Operator {
    async fn connect(url: &str, prefix: &str, queue_type: QueueType) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { _connection: connection, channel, prefix: prefix.to_owned(), queue_type }
    }

    async fn publish(&self, bytes: &[u8]) {
        let (exchange, options) = (self.prefix.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default();
        let confirm = self.channel.basic_publish(exchange, self.key().into(), options, bytes, properties);
        assert!(confirm.await.unwrap().await.unwrap().is_ack());
    }

    /// Returns the name of the queue `jobs` or `parked`.
    fn name_of(&self, queue: &str) -> String {
        match (queue, self.queue_type) {
            ("jobs", QueueType::Transient) => format!("{}.transient-jobs", self.prefix),
            _ => format!("{}.{queue}", self.prefix),
        }
    }

    /// Returns the number of messages in a queue that are not delivered to a consumer.
    async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = self.name_of(queue).into();
        self.channel.queue_declare(name, options, FieldTable::default()).await.unwrap().message_count()
    }

    async fn until_waiting(&self, queue: &str, count: u32) {
        until(&format!("{count} in {queue}"), async || (self.waiting(queue).await == count).then_some(()))
            .await;
    }

    async fn delete(&self, queue: &str) {
        let name = self.name_of(queue).into();
        self.channel.queue_delete(name, QueueDeleteOptions::default()).await.unwrap();
    }

    /// Removes the binding of the queue of jobs.
    async fn unbind(&self) {
        let (queue, exchange) = (self.name_of("jobs").into(), self.prefix.as_str().into());
        self.channel.queue_unbind(queue, exchange, self.key().into(), FieldTable::default()).await.unwrap();
    }

    /// Returns the routing key of jobs.
    fn key(&self) -> &'static str {
        match self.queue_type {
            QueueType::Transient => "due-transient",
            QueueType::Quorum => "due",
        }
    }
}

fn jobs(numbers: Range<u64>) -> Vec<Job> {
    let job = |number| Job {
        event_id: Uuid::from_u128(u128::from(number)).into(),
        tenant_id: Uuid::from_u128(1).into(),
        destination_id: Uuid::from_u128(2).into(),
        stream_version: number,
        attempt: 1,
        failed_attempts: 0,
        unknown_in_a_row: 0,
        epoch: 3,
        stage_version: 1,
    };
    numbers.map(job).collect()
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    timeout(WAIT_TIMEOUT, deliveries.recv()).await.expect("a job in time").expect("a consumer that runs")
}

/// Acknowledges jobs until all of these numbers were received, in any order, possibly twice.
async fn receive_all(deliveries: &mut Deliveries, numbers: Range<u64>) {
    receive_until(deliveries, &mut numbers.collect(), 0).await;
}

/// Publishes jobs, and again those that are missing after each loss, as the dispatcher does. Acknowledges them until all
/// were received.
async fn deliver(process: &Process, deliveries: &mut Deliveries, numbers: Range<u64>) {
    let mut losses = process.queue.losses();
    losses.mark_unchanged();
    process.publish(&jobs(numbers.clone())).await;
    let mut missing: BTreeSet<u64> = numbers.collect();
    while !missing.is_empty() {
        tokio::select! {
            changed = losses.changed() => {
                changed.unwrap();
                let lost: Vec<Job> = missing.iter().flat_map(|&number| jobs(number..number + 1)).collect();
                process.publish(&lost).await;
            }
            delivery = next(deliveries) => {
                missing.remove(&delivery.job().stream_version);
                delivery.ack();
            }
        }
    }
}

/// Waits until the queue announces another loss.
async fn until_loss(losses: &mut watch::Receiver<u64>) {
    timeout(WAIT_TIMEOUT, losses.changed()).await.expect("a loss that is announced").unwrap();
}

/// Acknowledges jobs until only `left` numbers are missing.
async fn receive_until(deliveries: &mut Deliveries, missing: &mut BTreeSet<u64>, left: usize) {
    while missing.len() > left {
        let delivery = next(deliveries).await;
        missing.remove(&delivery.job().stream_version);
        delivery.ack();
    }
}
