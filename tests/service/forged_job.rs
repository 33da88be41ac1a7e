//! Jobs that someone else puts on the queue.

use hooksentry::lifecycle::HelperTasks;
use hooksentry::queue::rabbitmq::{BrokerUrls, QueuePrefix, RabbitMq, RabbitMqSettings};
use hooksentry::queue::{Job, JobQueue};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::{WAIT_TIMEOUT, until};

/// The event of one tenant, in a job to the destination of another.
#[tokio::test]
async fn a_forged_job_sends_nothing_and_writes_nothing() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let program =
        Launch::serve("api,projector,dispatcher,worker", &database.url()).through(&broker).ready().await;
    let (receiver, thief) = (Receiver::answering(200).await, Receiver::answering(200).await);
    let (victim, attacker) = (Tenant::register(program.base()).await, Tenant::register(program.base()).await);
    let destination = victim.destination(&receiver.url(), 1).await;
    let own = attacker.destination(&thief.url(), 1).await;
    // The second event waits until the first is delivered.
    receiver.hold();
    victim.ingest(&destination, &json!({ "event": "first" })).await;
    until("the first attempt", async || (receiver.in_flight() == 1).then_some(())).await;
    let event_id = victim.ingest(&destination, &json!({ "event": "second" })).await;

    let epoch = epoch(&database).await;
    let job = |tenant: &Tenant, destination: &Destination| Job {
        event_id: event_id.parse::<uuid::Uuid>().expect("an id").into(),
        tenant_id: tenant.tenant_id().parse::<uuid::Uuid>().expect("an id").into(),
        destination_id: destination.id.into(),
        stream_version: 1,
        attempt: 1,
        failed_attempts: 0,
        unknown_in_a_row: 0,
        epoch,
        stage_version: 1,
    };
    let forged = [job(&attacker, &own), job(&victim, &own), job(&attacker, &destination)];
    publish(&broker, &forged).await;
    // The queue delivers in order: when this event has arrived, the forged jobs were taken.
    attacker.ingest(&own, &json!({ "event": "own" })).await;
    attacker.until_count("Succeeded", 1).await;
    assert_eq!(thief.count(), 1);
    let history = victim.get(&format!("events/{event_id}/history")).await;
    assert_eq!(history["items"].as_array().expect("a list").len(), 1, "{history}");

    receiver.release();
    victim.until_count("Succeeded", 2).await;
    assert_eq!((receiver.count(), thief.count()), (2, 1));
    assert!(program.stop().await.success());
    database.discard().await;
}

async fn epoch(database: &TestDatabase) -> u64 {
    let pool = database.pool().await;
    let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM leaderships WHERE role = 'dispatcher'")
        .fetch_one(&pool)
        .await
        .expect("a leader");
    pool.close().await;
    u64::try_from(epoch).expect("an epoch")
}

async fn publish(broker: &SharedBroker, jobs: &[Job]) {
    let (urls, prefix) = (BrokerUrls::parse(&broker.url.as_str().into()), QueuePrefix::new(&broker.prefix));
    let settings = RabbitMqSettings::new(urls.expect("a URL"), prefix.expect("a prefix"));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let helpers = HelperTasks::tracked_by(tasks.clone());
    let queue = RabbitMq::connect(settings, WAIT_TIMEOUT, &helpers, stop.clone()).await.expect("a broker");
    until("the jobs are published", async || queue.publish(jobs).await.ok()).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
