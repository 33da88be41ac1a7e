//! Brokers that fail, and queues that are deleted.

use std::time::{Duration, Instant};

use hooksentry::queue::rabbitmq::QueueType;
use hooksentry::queue::{JobQueue, PublishFailure, QueueState};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{Operator, Process, deliver, jobs, next, receive_all, receive_until, settings, until_loss};
use crate::harness::rabbitmq::{OwnBroker, SharedBroker};
use crate::harness::{WAIT_TIMEOUT, until};

of_both_types!(
    a_consumer_declares_its_deleted_queue_again,
    a_broker_that_blocks_publishers_still_serves_consumers,
    a_lost_connection_to_the_broker_is_announced_as_a_loss,
);

async fn a_consumer_declares_its_deleted_queue_again(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let mut deliveries = process.consumer(10);
    process.publish(&jobs(0..1)).await;
    let lost_with_its_queue = next(&mut deliveries).await;

    operator.delete("jobs").await;
    operator.delete("parked").await;
    // Its queue was deleted: the acknowledgement has no effect.
    lost_with_its_queue.ack();
    deliver(&process, &mut deliveries, 1..100).await;
    deliver(&process, &mut deliveries, 100..101).await;
    assert_eq!(operator.waiting("parked").await, 0);
    process.end().await;
}

#[tokio::test]
async fn no_job_of_a_quorum_queue_is_lost_when_the_broker_restarts() {
    let mut broker = OwnBroker::start(1).await;
    let url = broker.nodes[0].url();
    let mut settings = settings(&url, "hooksentry", QueueType::Quorum);
    settings.publish_timeout = Duration::from_millis(500);
    let process = Process::start_with(settings, WAIT_TIMEOUT).await.unwrap();
    let mut deliveries = process.consumer(10);
    process.publish(&jobs(0..5)).await;
    let unsettled = next(&mut deliveries).await;

    for end in ["stopped", "killed"] {
        match end {
            "stopped" => broker.nodes[0].stop().await.unwrap(),
            _ => broker.nodes[0].kill(),
        }
        until("the lost connection is noticed", async || {
            (process.queue.state() == QueueState::Disconnected).then_some(())
        })
        .await;
        let started = Instant::now();
        assert_eq!(process.queue.publish(&jobs(5..6)).await, Err(PublishFailure::Disconnected));
        assert!(started.elapsed() < Duration::from_secs(5), "the publish took too long");
        broker.nodes[0].start().await.unwrap();
        process.publish(&jobs(5..10)).await;
    }

    unsettled.ack();
    // The unsettled job is delivered again, too: its acknowledgement had no effect.
    receive_all(&mut deliveries, 0..10).await;
    process.end().await;
}

/// Jobs of a transient queue are lost with the broker.
async fn a_lost_connection_to_the_broker_is_announced_as_a_loss(queue_type: QueueType) {
    let mut broker = OwnBroker::start(1).await;
    let process = Process::start(&broker.nodes[0].url(), "hooksentry", queue_type).await;
    let mut losses = process.queue.losses();
    losses.mark_unchanged();
    process.publish(&jobs(0..5)).await;
    broker.nodes[0].kill();
    until("the lost connection is noticed", async || {
        (process.queue.state() == QueueState::Disconnected).then_some(())
    })
    .await;
    assert!(!losses.has_changed().unwrap(), "announced when jobs can be published again");
    broker.nodes[0].start().await.unwrap();
    until_loss(&mut losses).await;
    assert_eq!(process.queue.state(), QueueState::Ready);
    process.publish(&jobs(0..5)).await;
    receive_all(&mut process.consumer(10), 0..5).await;
    process.end().await;
}

async fn a_broker_that_blocks_publishers_still_serves_consumers(queue_type: QueueType) {
    let broker = OwnBroker::start(1).await;
    let node = &broker.nodes[0];
    let mut settings = settings(&node.url(), "hooksentry", queue_type);
    settings.publish_timeout = Duration::from_secs(2);
    let process = Process::start_with(settings, WAIT_TIMEOUT).await.unwrap();
    let mut deliveries = process.consumer(1);
    process.publish(&jobs(0..3)).await;

    node.control(&["set_vm_memory_high_watermark", "0.000001"]).await.unwrap();
    let reason = until("publishes are blocked", async || {
        let started = Instant::now();
        let published = process.queue.publish(&jobs(3..4)).await;
        assert!(started.elapsed() < Duration::from_secs(10), "the publish took too long");
        match published {
            Err(PublishFailure::Blocked { reason }) => Some(reason),
            _ => None,
        }
    })
    .await;
    assert!(reason.contains("memory"), "{reason}");
    assert_eq!(process.queue.state(), QueueState::Blocked { reason });
    // With a prefetch of one, each delivery needs the acknowledgement of the previous one.
    receive_all(&mut deliveries, 0..3).await;

    node.control(&["set_vm_memory_high_watermark", "0.4"]).await.unwrap();
    process.publish(&jobs(4..5)).await;
    receive_all(&mut deliveries, 3..5).await;
    assert_eq!(process.queue.state(), QueueState::Ready);
    process.end().await;
}

#[tokio::test]
async fn no_job_is_lost_when_a_cluster_loses_a_node() {
    let mut broker = OwnBroker::start(3).await;
    let urls = broker.nodes.iter().map(|node| node.url()).collect::<Vec<_>>().join(",");
    let process = Process::start(&urls, "hooksentry", QueueType::Quorum).await;
    let mut deliveries = process.consumer(50);
    process.publish(&jobs(0..500)).await;
    // Any of them: jobs that are published in several rounds are delivered in any order.
    let mut missing = (0..500).collect();
    receive_until(&mut deliveries, &mut missing, 400).await;

    // The node of all connections, which leads the queue because the queue was declared there.
    broker.nodes[0].kill();
    process.publish(&jobs(500..1_000)).await;
    missing.extend(500..1_000);
    receive_until(&mut deliveries, &mut missing, 0).await;

    // Without a majority nothing is confirmed, and the publish fails.
    broker.nodes[1].kill();
    let started = Instant::now();
    let published = process.queue.publish(&jobs(1_000..1_001)).await;
    assert!(published.is_err(), "{published:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "the publish took too long");

    broker.nodes[1].start().await.unwrap();
    process.publish(&jobs(1_000..1_100)).await;
    receive_all(&mut deliveries, 1_000..1_100).await;
    process.end().await;
}

#[tokio::test]
async fn a_start_without_a_broker_fails_in_time_and_does_not_reveal_the_password() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let settings = settings(&format!("amqp://user:s3cr3t@{address}"), "hooksentry", QueueType::default());
    let started = Instant::now();
    let failure =
        anyhow::Error::from(Process::start_with(settings, Duration::from_secs(1)).await.err().unwrap());
    assert!(started.elapsed() < Duration::from_secs(10));
    let report = format!("{failure:?} {failure:#}");
    assert!(report.contains(&address.to_string()), "{report}");
    assert!(!report.contains("s3cr3t"), "{report}");
}

#[tokio::test]
async fn a_connection_to_a_silent_broker_is_closed_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://user:s3cr3t@{}", silent.local_addr().unwrap());
    let mut settings = settings(&url, "hooksentry", QueueType::default());
    settings.connect_timeout = Duration::from_millis(200);
    let (failure, peer) =
        tokio::join!(Process::start_with(settings, Duration::from_secs(1)), silent.accept());
    let failure = anyhow::Error::from(failure.err().unwrap());
    assert!(format!("{failure:#}").contains("did not answer"), "{failure:#}");
    // The connection is closed and does not keep a thread waiting.
    let mut sent = Vec::new();
    timeout(WAIT_TIMEOUT, peer.unwrap().0.read_to_end(&mut sent))
        .await
        .expect("a closed connection")
        .unwrap();
    assert_eq!(sent, b"AMQP\x00\x00\x09\x01");
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named_in_the_error() {
    let queue_type = QueueType::default();
    let broker = SharedBroker::connect().await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let name = operator.name_of("jobs");
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    operator.channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();

    let settings = settings(&broker.url, &broker.prefix, queue_type);
    let failure = Process::start_with(settings, Duration::from_secs(1)).await;
    let failure = anyhow::Error::from(failure.err().unwrap());
    assert!(format!("{failure:#}").contains(&name), "{failure:#}");
    operator.delete("jobs").await;
}
