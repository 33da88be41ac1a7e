//! Publishes: confirmation and throughput.

use std::collections::BTreeSet;

use hooksentry::queue::rabbitmq::QueueType;
use hooksentry::queue::{Delivery, JobQueue, PublishFailure, QueueState};

use super::{Operator, Process, jobs, next, receive_all, until_loss};
use crate::harness::rabbitmq::SharedBroker;

of_both_types!(
    an_acknowledged_job_is_removed_from_the_queue,
    an_empty_publish_succeeds,
    ten_thousand_jobs_are_delivered_once_each,
    many_callers_publish_concurrently,
    a_deleted_queue_is_announced_as_a_loss_when_it_is_there_again,
    a_removed_binding_is_restored_and_announced_as_a_loss,
);

async fn an_acknowledged_job_is_removed_from_the_queue(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    assert_eq!(process.queue.state(), QueueState::Ready);

    process.queue.publish(&jobs(7..8)).await.unwrap();
    let mut deliveries = process.consumer(10);
    let delivery = next(&mut deliveries).await;
    assert_eq!(*delivery.job(), jobs(7..8)[0]);
    assert!(!delivery.redelivered());
    delivery.ack();
    process.end().await;
    // An unsettled job would be in the queue again now that its connection is closed.
    assert_eq!(operator.waiting("jobs").await, 0);
}

async fn an_empty_publish_succeeds(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    process.queue.publish(&[]).await.unwrap();
    process.end().await;
}

#[tokio::test]
async fn a_publish_to_a_deleted_queue_fails_once_if_the_broker_confirms_publishes() {
    let queue_type = QueueType::Quorum;
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    operator.delete("jobs").await;
    assert_eq!(process.queue.publish(&jobs(0..3)).await, Err(PublishFailure::Unroutable));
    // The queue has been declared again when the error is returned.
    process.queue.publish(&jobs(0..3)).await.unwrap();
    receive_all(&mut process.consumer(10), 0..3).await;
    process.end().await;
}

/// Also when another process has declared it again, which this one cannot see.
async fn a_deleted_queue_is_announced_as_a_loss_when_it_is_there_again(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let mut losses = process.queue.losses();
    losses.mark_unchanged();
    process.queue.publish(&jobs(0..3)).await.unwrap();
    operator.until_waiting("jobs", 3).await;
    operator.delete("jobs").await;
    let other = Process::start(&broker.url, &broker.prefix, queue_type).await;
    until_loss(&mut losses).await;
    process.publish(&jobs(0..3)).await;
    receive_all(&mut process.consumer(10), 0..3).await;
    other.end().await;
    process.end().await;
}

async fn a_removed_binding_is_restored_and_announced_as_a_loss(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let mut losses = process.queue.losses();
    losses.mark_unchanged();
    operator.unbind().await;
    let published = process.queue.publish(&jobs(0..3)).await;
    if queue_type == QueueType::Quorum {
        assert_eq!(published, Err(PublishFailure::Unroutable));
    }
    until_loss(&mut losses).await;
    process.publish(&jobs(0..3)).await;
    receive_all(&mut process.consumer(10), 0..3).await;
    process.end().await;
}

#[tokio::test]
async fn a_queue_without_confirms_is_missed_although_nothing_is_published() {
    let queue_type = QueueType::Transient;
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let mut losses = process.queue.losses();
    losses.mark_unchanged();
    operator.delete("jobs").await;
    until_loss(&mut losses).await;
    assert_eq!(operator.waiting("jobs").await, 0, "the queue is there again");
    process.end().await;
}

async fn ten_thousand_jobs_are_delivered_once_each(queue_type: QueueType) {
    const JOBS: u64 = 10_000;
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let operator = Operator::connect(&broker.url, &broker.prefix, queue_type).await;
    let mut deliveries = process.consumer(200);
    let all = jobs(0..JOBS);
    let consume = async {
        let mut seen = BTreeSet::new();
        let mut held = Vec::new();
        while (seen.len() as u64) < JOBS {
            let delivery = next(&mut deliveries).await;
            assert!(!delivery.redelivered());
            assert!(seen.insert(delivery.job().stream_version), "{:?} was delivered twice", delivery.job());
            // Acknowledged out of order, as by workers: each tenth job waits for nine later ones of its kind.
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

async fn many_callers_publish_concurrently(queue_type: QueueType) {
    let broker = SharedBroker::connect().await;
    let process = Process::start(&broker.url, &broker.prefix, queue_type).await;
    let singles: Vec<_> = (0..1_000).map(|number| jobs(number..number + 1)).collect();
    let publishes = singles.iter().map(|jobs| process.queue.publish(jobs));
    futures::future::try_join_all(publishes).await.unwrap();
    receive_all(&mut process.consumer(100), 0..1_000).await;
    process.end().await;
}
