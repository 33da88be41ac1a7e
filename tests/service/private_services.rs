//! Tests of the servers that other tests use.

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use sqlx::PgPool;

use crate::harness::postgres::{OwnServer, TestDatabase};
use crate::harness::rabbitmq::{OwnBroker, SharedBroker};
use crate::harness::until;

async fn facts(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(pool).await.unwrap()
}

async fn add_fact(pool: &PgPool) {
    sqlx::query(
        "INSERT INTO events
             (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('Test', 'one', 1, 'Tested', '1', '{}', '{}')",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    let (one_pool, other_pool) = (one.pool().await, other.pool().await);
    add_fact(&one_pool).await;
    assert_eq!((facts(&one_pool).await, facts(&other_pool).await), (1, 0));
    one.discard().await;
    other.discard().await;
}

#[tokio::test]
async fn an_own_server_sees_no_transactions_of_others_and_can_be_stopped() {
    let shared = TestDatabase::create().await;
    let shared_pool = shared.pool().await;
    let mut foreign = shared_pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *foreign).await.unwrap();

    let mut server = OwnServer::start().await;
    let database = server.create_database().await;
    let pool = database.pool().await;
    add_fact(&pool).await;
    let visible: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(visible, 1);

    server.stop().await;
    assert!(sqlx::query("SELECT 1").execute(&pool).await.is_err(), "a stopped server answered");
    server.resume().await;
    until("the pool to reconnect", async || sqlx::query("SELECT 1").execute(&pool).await.ok()).await;
    assert_eq!(facts(&pool).await, 1);

    foreign.rollback().await.unwrap();
    shared.discard().await;
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

async fn declare(channel: &Channel, queue: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.unwrap();
}

async fn publish(channel: &Channel, queue: &str, word: &str) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let confirmation = channel
        .basic_publish("".into(), queue.into(), BasicPublishOptions::default(), word.as_bytes(), properties)
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(confirmation.is_ack());
}

async fn receive(channel: &Channel, queue: &str) -> String {
    let mut consumer = channel
        .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let delivery = consumer.next().await.unwrap().unwrap();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    String::from_utf8(delivery.data).unwrap()
}

#[tokio::test]
async fn tests_share_a_broker_and_use_different_names() {
    let (one, other) = (SharedBroker::connect().await, SharedBroker::connect().await);
    assert_eq!(one.url, other.url);
    assert_ne!(one.prefix, other.prefix);
    let (_connection, channel) = channel(&one.url).await;
    let queue = format!("{}.queue", one.prefix);
    declare(&channel, &queue).await;
    publish(&channel, &queue, "shared").await;
    assert_eq!(receive(&channel, &queue).await, "shared");
}

#[tokio::test]
async fn an_own_broker_keeps_what_it_confirmed_through_stop_and_kill() {
    let mut broker = OwnBroker::start(1).await;
    let node = &mut broker.nodes[0];
    let (_connection, first) = channel(&node.url()).await;
    declare(&first, "kept").await;
    publish(&first, "kept", "before the stop").await;
    node.stop().await.unwrap();
    assert!(Connection::connect(&node.url(), ConnectionProperties::default()).await.is_err());

    node.start().await.unwrap();
    let (_connection, second) = channel(&node.url()).await;
    assert_eq!(receive(&second, "kept").await, "before the stop");
    // The broker saves its list of queues only twice a second, so a kill could lose a queue that was just
    // declared. This one was saved by the stop.
    publish(&second, "kept", "before the kill").await;
    node.kill();

    node.start().await.unwrap();
    let (_connection, third) = channel(&node.url()).await;
    assert_eq!(receive(&third, "kept").await, "before the kill");
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_a_node() {
    let mut broker = OwnBroker::start(3).await;
    let (_connection, first) = channel(&broker.nodes[0].url()).await;
    declare(&first, "replicated").await;
    publish(&first, "replicated", "survives").await;
    broker.nodes[0].kill();

    let (_connection, second) = channel(&broker.nodes[1].url()).await;
    assert_eq!(receive(&second, "replicated").await, "survives");
}
