//! The job queue on a real RabbitMQ: what it promises, and what it survives.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::{Duration, Instant};

use hooksentry::queue::rabbitmq::{BrokerUrls, QueuePrefix, RabbitMq, RabbitMqSettings, StartFailure};
use hooksentry::queue::{Deliveries, Delivery, Job, JobQueue, PublishFailure, QueueState};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::rabbitmq::{OwnBroker, SharedBroker};
use crate::harness::{WAIT_TIMEOUT, until};

/// A process with the queue, as the program has it.
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
        let queue = RabbitMq::connect(settings, within, &tasks, stop.clone()).await?;
        Ok(Self { queue, tasks, stop })
    }

    fn consumer(&self, prefetch: u16) -> Deliveries {
        self.queue.consume(NonZeroU16::new(prefetch).unwrap(), self.stop.child_token())
    }

    /// Publishes as the dispatcher does: what could not be published is published again.
    async fn publish(&self, jobs: &[Job]) {
        until("the jobs are published", async || self.queue.publish(jobs).await.ok()).await;
    }

    /// Stops, and fails the test if a task does not end.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        timeout(WAIT_TIMEOUT, self.tasks.wait()).await.expect("a task does not end");
    }
}

fn settings(urls: &str, prefix: &str) -> RabbitMqSettings {
    RabbitMqSettings::new(BrokerUrls::parse(&urls.into()).unwrap(), QueuePrefix::new(prefix).unwrap())
}

/// What a person can do with the broker behind our back.
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

    /// Messages in a queue that nobody holds.
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
        accepted_at_ms: Some(1_700_000_000_000),
    };
    numbers.map(job).collect()
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    timeout(WAIT_TIMEOUT, deliveries.recv()).await.expect("no job came").expect("the consumer has ended")
}

/// Acknowledges jobs until all of these numbers have come. They may come in any order, and twice.
async fn receive_all(deliveries: &mut Deliveries, numbers: Range<u64>) {
    receive_until(deliveries, &mut numbers.collect(), 0).await;
}

/// Acknowledges jobs until so many of the missing ones are left.
async fn receive_until(deliveries: &mut Deliveries, missing: &mut BTreeSet<u64>, left: usize) {
    while missing.len() > left {
        let delivery = next(deliveries).await;
        missing.remove(&delivery.job().stream_version);
        delivery.ack();
    }
}

#[tokio::test]
async fn a_job_arrives_as_it_was_published_and_is_gone_when_acknowledged() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    assert_eq!(process.queue.state(), QueueState::Ready);

    process.queue.publish(&jobs(7..8)).await.unwrap();
    let mut deliveries = process.consumer(10);
    let delivery = next(&mut deliveries).await;
    assert_eq!(*delivery.job(), jobs(7..8)[0]);
    assert!(!delivery.redelivered());
    delivery.ack();
    process.end().await;
    // A job that was not acknowledged would be back now that its connection is closed.
    assert_eq!(operator.waiting("jobs").await, 0);
}

#[tokio::test]
async fn nothing_to_publish_is_published() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    process.queue.publish(&[]).await.unwrap();
    process.end().await;
}

#[tokio::test]
async fn a_job_that_is_dropped_comes_again() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    process.queue.publish(&jobs(0..1)).await.unwrap();
    let mut deliveries = process.consumer(1);
    drop(next(&mut deliveries).await);
    let again = next(&mut deliveries).await;
    assert!(again.redelivered());
    again.ack();
    process.end().await;
}

#[tokio::test]
async fn the_jobs_of_a_consumer_that_is_dropped_go_to_another() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    process.queue.publish(&jobs(0..3)).await.unwrap();

    let mut dying = process.consumer(3);
    let in_hand = next(&mut dying).await;
    drop(dying);
    // Two were fetched and never taken.
    let mut other = process.consumer(3);
    let mut numbers = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next(&mut other).await;
        assert!(delivery.redelivered());
        numbers.insert(delivery.job().stream_version);
        delivery.ack();
    }
    assert_eq!(numbers, (1..3).collect());
    // The one in hand is still settled by its old consumer.
    in_hand.requeue();
    let delivery = next(&mut other).await;
    assert_eq!((delivery.job().stream_version, delivery.redelivered()), (0, true));
    delivery.ack();
    process.end().await;
}

#[tokio::test]
async fn a_stopped_consumer_hands_back_what_was_not_taken_and_settles_what_was() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    process.queue.publish(&jobs(0..5)).await.unwrap();

    let stop = CancellationToken::new();
    let mut deliveries = process.queue.consume(NonZeroU16::new(4).unwrap(), stop.clone());
    let in_hand = next(&mut deliveries).await;
    stop.cancel();
    // The consumer is still there for the job in hand, but holds no other, even if nobody looks.
    operator.until_waiting("jobs", 4).await;
    assert!(deliveries.recv().await.is_none());
    assert_eq!(process.tasks.len(), 2);
    in_hand.ack();
    until("the consumer ends", async || (process.tasks.len() == 1).then_some(())).await;

    let mut other = process.consumer(10);
    receive_all(&mut other, 1..5).await;
    process.end().await;
    assert_eq!(operator.waiting("jobs").await, 0);
}

#[tokio::test]
async fn a_consumer_holds_no_more_than_its_prefetch() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    process.queue.publish(&jobs(0..10)).await.unwrap();

    let mut deliveries = process.consumer(3);
    let mut in_hand = Vec::new();
    for _ in 0..3 {
        in_hand.push(next(&mut deliveries).await);
    }
    operator.until_waiting("jobs", 7).await;
    // Another consumer gets all that the first does not hold, which is as much as it may hold.
    let mut other = process.consumer(10);
    receive_all(&mut other, 3..10).await;
    operator.until_waiting("jobs", 0).await;
    assert_eq!(in_hand.iter().map(|delivery| delivery.job().stream_version).collect::<Vec<_>>(), [0, 1, 2]);
    drop(in_hand);
    process.end().await;
}

#[tokio::test]
async fn a_message_that_is_no_job_is_parked_and_holds_up_nobody() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    operator.publish(b"{\"v\":1,\"event\":\"nonsense\"}").await;
    operator.publish(b"").await;
    process.queue.publish(&jobs(0..1)).await.unwrap();

    // With room for one job, a message that is neither settled nor handed out would block the queue.
    let mut deliveries = process.consumer(1);
    next(&mut deliveries).await.ack();
    operator.until_waiting("parked", 2).await;
    process.end().await;
    assert_eq!(operator.waiting("jobs").await, 0);
}

#[tokio::test]
async fn a_job_that_comes_back_over_and_over_is_parked() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    process.queue.publish(&jobs(0..1)).await.unwrap();

    let mut deliveries = process.consumer(1);
    for _ in 0..21 {
        next(&mut deliveries).await.requeue();
    }
    operator.until_waiting("parked", 1).await;
    process.queue.publish(&jobs(1..2)).await.unwrap();
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.job().stream_version, 1);
    delivery.ack();
    process.end().await;
}

#[tokio::test]
async fn a_job_without_a_queue_is_an_error_once() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    operator.delete("jobs").await;
    assert_eq!(process.queue.publish(&jobs(0..3)).await, Err(PublishFailure::Unroutable));
    // The queue is there again by the time the error arrives.
    process.queue.publish(&jobs(0..3)).await.unwrap();
    receive_all(&mut process.consumer(10), 0..3).await;
    process.end().await;
}

#[tokio::test]
async fn a_queue_deleted_under_its_consumer_is_declared_again() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    let mut deliveries = process.consumer(10);
    process.publish(&jobs(0..1)).await;
    let lost_with_its_queue = next(&mut deliveries).await;

    operator.delete("jobs").await;
    operator.delete("parked").await;
    process.publish(&jobs(1..100)).await;
    // The queue that it came from is gone: the acknowledgement goes nowhere and disturbs nobody.
    lost_with_its_queue.ack();
    receive_all(&mut deliveries, 1..100).await;
    process.publish(&jobs(100..101)).await;
    receive_all(&mut deliveries, 100..101).await;
    assert_eq!(operator.waiting("parked").await, 0);
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_come_through_once_each() {
    const JOBS: u64 = 10_000;
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    let mut deliveries = process.consumer(200);
    let all = jobs(0..JOBS);
    let consume = async {
        let mut seen = BTreeSet::new();
        let mut held = Vec::new();
        while (seen.len() as u64) < JOBS {
            let delivery = next(&mut deliveries).await;
            assert!(!delivery.redelivered());
            assert!(seen.insert(delivery.job().stream_version), "{:?} came twice", delivery.job());
            // Acknowledged out of order, as workers do: each tenth job waits for the hundredth after it.
            match delivery.job().stream_version % 10 {
                0 => held.push(delivery),
                _ => delivery.ack(),
            }
            if held.len() == 10 {
                held.drain(..).for_each(Delivery::ack);
            }
        }
    };
    let publish = async {
        for jobs in all.chunks(1_000) {
            process.queue.publish(jobs).await.unwrap();
        }
    };
    tokio::join!(publish, consume);
    process.end().await;
    assert_eq!(operator.waiting("jobs").await, 0);
}

#[tokio::test]
async fn many_callers_publish_at_once() {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix).await;
    let singles: Vec<_> = (0..1_000).map(|number| jobs(number..number + 1)).collect();
    let publishes = singles.iter().map(|jobs| process.queue.publish(jobs));
    futures::future::try_join_all(publishes).await.unwrap();
    receive_all(&mut process.consumer(100), 0..1_000).await;
    process.end().await;
}

#[tokio::test]
async fn a_broker_that_restarts_is_found_again_and_no_job_is_lost() {
    let mut broker = OwnBroker::start(1).await;
    let url = broker.nodes[0].url();
    let mut settings = settings(&url, "hooksentry");
    settings.publish_timeout = Duration::from_millis(500);
    let process = Process::start_with(settings, WAIT_TIMEOUT).await.unwrap();
    let mut deliveries = process.consumer(10);
    process.publish(&jobs(0..5)).await;
    let in_hand = next(&mut deliveries).await;

    for way_to_go in ["stopped", "killed"] {
        match way_to_go {
            "stopped" => broker.nodes[0].stop().await,
            _ => broker.nodes[0].kill(),
        }
        until("the loss is noticed", async || {
            (process.queue.state() == QueueState::Disconnected).then_some(())
        })
        .await;
        let started = Instant::now();
        assert_eq!(process.queue.publish(&jobs(5..6)).await, Err(PublishFailure::Disconnected));
        assert!(started.elapsed() < Duration::from_secs(5), "the publish hung");
        broker.nodes[0].start().await;
        process.publish(&jobs(5..10)).await;
    }

    in_hand.ack();
    // The job in hand comes again as well: its acknowledgement had nowhere to go.
    receive_all(&mut deliveries, 0..10).await;
    process.end().await;
}

#[tokio::test]
async fn a_broker_that_blocks_publishers_still_serves_consumers() {
    let broker = OwnBroker::start(1).await;
    let node = &broker.nodes[0];
    let mut settings = settings(&node.url(), "hooksentry");
    settings.publish_timeout = Duration::from_secs(2);
    let process = Process::start_with(settings, WAIT_TIMEOUT).await.unwrap();
    let mut deliveries = process.consumer(1);
    process.publish(&jobs(0..3)).await;

    node.control(&["set_vm_memory_high_watermark", "0.000001"]);
    let reason = until("publishes are blocked", async || {
        let started = Instant::now();
        let published = process.queue.publish(&jobs(3..4)).await;
        assert!(started.elapsed() < Duration::from_secs(10), "the publish hung");
        match published {
            Err(PublishFailure::Blocked { reason }) => Some(reason),
            _ => None,
        }
    })
    .await;
    assert!(reason.contains("memory"), "{reason}");
    assert_eq!(process.queue.state(), QueueState::Blocked { reason });
    // With a prefetch of one, each needs the acknowledgement of the one before.
    receive_all(&mut deliveries, 0..3).await;

    node.control(&["set_vm_memory_high_watermark", "0.4"]);
    process.publish(&jobs(4..5)).await;
    receive_all(&mut deliveries, 3..5).await;
    assert_eq!(process.queue.state(), QueueState::Ready);
    process.end().await;
}

#[tokio::test]
async fn a_cluster_loses_a_node_and_no_job() {
    let mut broker = OwnBroker::start(3).await;
    let urls = broker.nodes.iter().map(|node| node.url()).collect::<Vec<_>>().join(",");
    let process = Process::start(&urls, "hooksentry").await;
    let mut deliveries = process.consumer(50);
    process.publish(&jobs(0..500)).await;
    // Whichever: what is published in several rounds comes mixed.
    let mut missing = (0..500).collect();
    receive_until(&mut deliveries, &mut missing, 400).await;

    // The node that all connections lead to, and that leads the queue because it declared it.
    broker.nodes[0].kill();
    process.publish(&jobs(500..1_000)).await;
    missing.extend(500..1_000);
    receive_until(&mut deliveries, &mut missing, 0).await;

    // Without a majority nothing is confirmed, and nobody is told otherwise.
    broker.nodes[1].kill();
    let started = Instant::now();
    let published = process.queue.publish(&jobs(1_000..1_001)).await;
    assert!(published.is_err(), "{published:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "the publish hung");

    broker.nodes[1].start().await;
    process.publish(&jobs(1_000..1_100)).await;
    receive_all(&mut deliveries, 1_000..1_100).await;
    process.end().await;
}

#[tokio::test]
async fn a_start_without_a_broker_fails_in_time_and_tells_no_password() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let settings = settings(&format!("amqp://user:s3cr3t@{address}"), "hooksentry");
    let started = Instant::now();
    let failure =
        anyhow::Error::from(Process::start_with(settings, Duration::from_secs(1)).await.err().unwrap());
    assert!(started.elapsed() < Duration::from_secs(10));
    let report = format!("{failure:?} {failure:#}");
    assert!(report.contains(&address.to_string()), "{report}");
    assert!(!report.contains("s3cr3t"), "{report}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_given_up_and_let_go() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://user:s3cr3t@{}", silent.local_addr().unwrap());
    let mut settings = settings(&url, "hooksentry");
    settings.connect_timeout = Duration::from_millis(200);
    let (failure, peer) =
        tokio::join!(Process::start_with(settings, Duration::from_secs(1)), silent.accept());
    let failure = anyhow::Error::from(failure.err().unwrap());
    assert!(format!("{failure:#}").contains("did not answer"), "{failure:#}");
    // The connection that was given up is closed, not left to wait on a thread of its own.
    let mut said = Vec::new();
    timeout(WAIT_TIMEOUT, peer.unwrap().0.read_to_end(&mut said)).await.expect("it is still open").unwrap();
    assert_eq!(said, b"AMQP\x00\x00\x09\x01");
}

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_named() {
    let broker = SharedBroker::connect().await;
    let operator = Operator::connect(&broker.url, &broker.prefix).await;
    let name = format!("{}.jobs", broker.prefix);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    operator.channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();

    let failure = Process::start_with(settings(&broker.url, &broker.prefix), Duration::from_secs(1)).await;
    let failure = anyhow::Error::from(failure.err().unwrap());
    assert!(format!("{failure:#}").contains(&name), "{failure:#}");
    operator.delete("jobs").await;
}
