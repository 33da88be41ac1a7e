//! Deliveries: settlement, prefetch, and parked messages.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use hooksentry::queue::JobQueue;
use hooksentry::queue::rabbitmq::QueueType;
use tokio_util::sync::CancellationToken;

use super::{Operator, Process, jobs, next, receive_all};
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::until;

of_both_types!(
    a_dropped_delivery_is_delivered_again,
    the_jobs_of_a_dropped_consumer_go_to_another,
    a_stopped_consumer_returns_unreceived_jobs_and_settles_the_others,
    a_consumer_holds_no_more_than_its_prefetch,
    an_invalid_message_is_parked_and_does_not_block_the_queue,
);

async fn a_dropped_delivery_is_delivered_again(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    process.queue.publish(&jobs(0..1)).await.unwrap();
    let mut deliveries = process.consumer(1);
    drop(next(&mut deliveries).await);
    let again = next(&mut deliveries).await;
    assert!(again.redelivered());
    again.ack();
    process.end().await;
}

async fn the_jobs_of_a_dropped_consumer_go_to_another(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    process.queue.publish(&jobs(0..3)).await.unwrap();

    let mut dying = process.consumer(3);
    let unsettled = next(&mut dying).await;
    drop(dying);
    // Two were prefetched and not received.
    let mut other = process.consumer(3);
    let mut numbers = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next(&mut other).await;
        assert!(delivery.redelivered());
        numbers.insert(delivery.job().stream_version);
        delivery.ack();
    }
    assert_eq!(numbers, (1..3).collect());
    // The unsettled one is still settled by its old consumer.
    unsettled.requeue();
    let delivery = next(&mut other).await;
    assert_eq!((delivery.job().stream_version, delivery.redelivered()), (0, true));
    delivery.ack();
    process.end().await;
}

async fn a_stopped_consumer_returns_unreceived_jobs_and_settles_the_others(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    process.queue.publish(&jobs(0..5)).await.unwrap();

    let stop = CancellationToken::new();
    let mut deliveries = process.queue.consume(NonZeroU16::new(4).unwrap(), stop.clone());
    let unsettled = next(&mut deliveries).await;
    stop.cancel();
    // The consumer still runs for the unsettled job, but holds no other, even if it is not polled.
    operator.until_waiting("jobs", 4).await;
    assert!(deliveries.recv().await.is_none());
    assert_eq!(process.tasks.len(), 2);
    unsettled.ack();
    until("the consumer ends", async || (process.tasks.len() == 1).then_some(())).await;

    let mut other = process.consumer(10);
    receive_all(&mut other, 1..5).await;
    process.end().await;
    assert_eq!(operator.waiting("jobs").await, 0);
}

async fn a_consumer_holds_no_more_than_its_prefetch(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    process.queue.publish(&jobs(0..10)).await.unwrap();

    let mut deliveries = process.consumer(3);
    let mut unsettled = Vec::new();
    for _ in 0..3 {
        unsettled.push(next(&mut deliveries).await);
    }
    operator.until_waiting("jobs", 7).await;
    // Another consumer gets all jobs that the first one does not hold.
    let mut other = process.consumer(10);
    receive_all(&mut other, 3..10).await;
    operator.until_waiting("jobs", 0).await;
    assert_eq!(unsettled.iter().map(|delivery| delivery.job().stream_version).collect::<Vec<_>>(), [0, 1, 2]);
    drop(unsettled);
    process.end().await;
}

async fn an_invalid_message_is_parked_and_does_not_block_the_queue(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    operator.publish(b"{\"v\":1,\"event\":\"nonsense\"}").await;
    operator.publish(b"").await;
    process.queue.publish(&jobs(0..1)).await.unwrap();

    // With a prefetch of one, a message that is neither settled nor delivered would block the queue.
    let mut deliveries = process.consumer(1);
    next(&mut deliveries).await.ack();
    operator.until_waiting("parked", 2).await;
    process.end().await;
    assert_eq!(operator.waiting("jobs").await, 0);
}

#[tokio::test]
async fn a_job_that_is_requeued_too_often_is_parked() {
    // Classic queues do not count redeliveries.
    let queue_type = QueueType::Quorum;
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
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
