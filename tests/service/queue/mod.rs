//! The job queue on a real RabbitMQ: its guarantees and its behaviour during failures.

mod delivering;
mod failures;
mod publishing;

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use hooksentry::lifecycle::HelperTasks;
use hooksentry::queue::rabbitmq::{BrokerUrls, QueuePrefix, RabbitMq, RabbitMqSettings, StartFailure};
use hooksentry::queue::{Deliveries, Delivery, Job, JobQueue};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
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
    async fn start(url: &str, prefix: &str) -> Self {
        Self::start_with(settings(url, prefix), WAIT_TIMEOUT).await.expect("a broker")
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

fn settings(urls: &str, prefix: &str) -> RabbitMqSettings {
    RabbitMqSettings::new(BrokerUrls::parse(&urls.into()).unwrap(), QueuePrefix::new(prefix).unwrap())
}

/// A connection that acts on the broker as a person would.
struct Operator {
    _connection: Connection,
    channel: Channel,
    prefix: String,
}

impl Operator {
    async fn connect(url: &str, prefix: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { _connection: connection, channel, prefix: prefix.to_owned() }
    }

    async fn publish(&self, bytes: &[u8]) {
        let (exchange, options) = (self.prefix.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default();
        let confirm = self.channel.basic_publish(exchange, "due".into(), options, bytes, properties);
        assert!(confirm.await.unwrap().await.unwrap().is_ack());
    }

    /// Returns the number of messages in a queue that are not delivered to a consumer.
    async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}.{queue}", self.prefix).into();
        self.channel.queue_declare(name, options, FieldTable::default()).await.unwrap().message_count()
    }

    async fn until_waiting(&self, queue: &str, count: u32) {
        until(&format!("{count} in {queue}"), async || (self.waiting(queue).await == count).then_some(()))
            .await;
    }

    async fn delete(&self, queue: &str) {
        let name = format!("{}.{queue}", self.prefix).into();
        self.channel.queue_delete(name, QueueDeleteOptions::default()).await.unwrap();
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

/// Acknowledges jobs until only `left` numbers are missing.
async fn receive_until(deliveries: &mut Deliveries, missing: &mut BTreeSet<u64>, left: usize) {
    while missing.len() > left {
        let delivery = next(deliveries).await;
        missing.remove(&delivery.job().stream_version);
        delivery.ack();
    }
}
