//! Connections to PostgreSQL and RabbitMQ that die without notice: packets are lost, and no side is told.

use std::time::{Duration, Instant};

use fault_proxy::{Direction, Fault, Scope};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::proxy::proxied;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::{client, until};

/// Time in which a refusal must arrive: far more than the two seconds that it takes, far less than the timeout of a
/// request.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// Sends webhooks one after the other, accepted or not.
struct Source {
    _tasks: JoinSet<()>,
}

impl Source {
    fn start(tenant: &Tenant, destination: &Destination) -> Self {
        let (tenant, destination) = (tenant.clone(), destination.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                drop(tenant.try_ingest(&destination, r#"{"event":"push"}"#).await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { _tasks: tasks }
    }
}

/// Waits until some more webhooks arrive.
async fn until_more_arrives(receiver: &Receiver) {
    let goal = receiver.count() + 20;
    until("webhooks to arrive", async || (receiver.count() >= goal).then_some(())).await;
}

/// Returns what the process answers about its readiness.
async fn readiness(process: &Process) -> Option<(StatusCode, Value)> {
    let answer = client().get(format!("{}/health/ready", process.base())).send().await.ok()?;
    Some((answer.status(), answer.json().await.ok()?))
}

async fn until_leading(process: &Process) {
    until("the process to lead", async || {
        let (_, body) = readiness(process).await?;
        body["leads"].as_array()?.iter().any(|lead| lead["leads"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_failover_without_notice_no_process_needs_a_restart() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let through_proxy = proxied(&database.url()).await;
    let launch = |roles: &str| Launch::serve(roles, &through_proxy.url).through(&broker).ready();
    let (api, dispatcher, worker) =
        tokio::join!(launch("api,projector"), launch("dispatcher"), launch("worker"));
    let tenant = Tenant::register(api.base()).await;
    let receiver = Receiver::answering(200).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let _source = Source::start(&tenant, &destination);
    until_more_arrives(&receiver).await;

    for _ in 0..2 {
        through_proxy.proxy.abandon();
        // The first of them may have been accepted before.
        until_more_arrives(&receiver).await;
        until_more_arrives(&receiver).await;
        for process in [&api, &dispatcher, &worker] {
            until("the process to be ready", async || {
                readiness(process).await.filter(|(status, _)| status.is_success())
            })
            .await;
        }
    }
    // The read models and the commands work as well.
    let event = tenant.ingest(&destination, &json!({ "last": true })).await;
    tenant.until_event(&event, "Succeeded").await;
    for process in [api, dispatcher, worker] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}

#[tokio::test]
async fn without_a_database_ingest_refuses_at_once_and_the_process_is_not_ready() {
    let database = TestDatabase::create().await;
    let through_proxy = proxied(&database.url()).await;
    let program = Launch::serve("api,projector,dispatcher,worker", &through_proxy.url).ready().await;
    let tenant = Tenant::register(program.base()).await;
    let receiver = Receiver::answering(200).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    tenant.ingest(&destination, &json!({})).await;

    through_proxy.proxy.set(Scope::All, Direction::Both, Fault::Swallow);
    // The first meets a connection that seems to work; later ones are refused because of what it found.
    for _ in 0..3 {
        let began = Instant::now();
        let answer = tenant.try_ingest(&destination, "{}").await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(began.elapsed() < REFUSED_WITHIN, "{:?}", began.elapsed());
    }
    let (status, body) = readiness(&program).await.expect("an answer");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body["detail"].as_str().is_some_and(|detail| detail.contains("webhooks cannot be committed")),
        "{body}"
    );

    through_proxy.proxy.heal();
    // The sessions of before are dead for both sides.
    through_proxy.proxy.cut();
    until("webhooks to be accepted", async || {
        let answer = tenant.try_ingest(&destination, "{}").await.ok()?;
        (answer.status() == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    until_more_arrives_by(&tenant, &destination, &receiver).await;
    program.kill().await;
    database.discard().await;
}

async fn until_more_arrives_by(tenant: &Tenant, destination: &Destination, receiver: &Receiver) {
    let _source = Source::start(tenant, destination);
    until_more_arrives(receiver).await;
}

#[tokio::test]
async fn a_commit_that_is_slow_is_waited_for() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let tenant = Tenant::register(program.base()).await;
    let receiver = Receiver::answering(200).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    tenant.ingest(&destination, &json!({})).await;

    let pool = database.pool().await;
    let mut slow = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE payloads IN SHARE MODE").execute(&mut *slow).await.expect("a lock");
    let answer = tenant.try_ingest(&destination, "{}");
    let release = async {
        until("the commit to wait", async || {
            let (_, body) = readiness(&program).await?;
            // Not shown when the process is not ready because of the commit.
            body["oldestCommitSeconds"].as_f64().is_none_or(|age| age > 3.0).then_some(())
        })
        .await;
        slow.rollback().await.expect("a rollback");
    };
    let (answer, ()) = tokio::join!(answer, release);
    assert_eq!(answer.expect("an answer").status(), StatusCode::ACCEPTED);
    program.kill().await;
    pool.close().await;
    database.discard().await;
}

#[tokio::test]
async fn a_dispatcher_without_packets_from_the_database_is_replaced_and_leads_again_later() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let through_proxy = proxied(&database.url()).await;
    let first = Launch::serve("dispatcher", &through_proxy.url).through(&broker).ready().await;
    until_leading(&first).await;
    let launch = |roles: &str| Launch::serve(roles, &database.url()).through(&broker).ready();
    let (api, second) = tokio::join!(launch("api,projector,worker"), launch("dispatcher"));
    let tenant = Tenant::register(api.base()).await;
    let receiver = Receiver::answering(200).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let _source = Source::start(&tenant, &destination);
    until_more_arrives(&receiver).await;

    through_proxy.proxy.abandon();
    through_proxy.proxy.set(Scope::New, Direction::Both, Fault::Swallow);
    until_leading(&second).await;
    until_more_arrives(&receiver).await;
    let (status, body) = until("the first not to be ready", async || {
        readiness(&first).await.filter(|(status, _)| !status.is_success())
    })
    .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");

    through_proxy.proxy.heal();
    through_proxy.proxy.cut();
    second.kill().await;
    until_leading(&first).await;
    until_more_arrives(&receiver).await;
    for process in [first, api] {
        process.kill().await;
    }
    database.discard().await;
}

#[tokio::test]
async fn a_dispatcher_without_packets_from_the_broker_hands_over_the_lead() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let through_proxy = proxied(&broker.url).await;
    let launch = |roles: &str| Launch::serve(roles, &database.url()).through(&broker);
    let first = launch("dispatcher").with("AMQP_URL", &through_proxy.url).ready().await;
    until_leading(&first).await;
    let (api, second) = tokio::join!(launch("api,projector,worker").ready(), launch("dispatcher").ready());
    let tenant = Tenant::register(api.base()).await;
    let receiver = Receiver::answering(200).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let _source = Source::start(&tenant, &destination);
    until_more_arrives(&receiver).await;

    through_proxy.proxy.set(Scope::All, Direction::Both, Fault::Swallow);
    until_leading(&second).await;
    until_more_arrives(&receiver).await;

    // Alone, it leads again when it is connected again.
    through_proxy.proxy.heal();
    through_proxy.proxy.cut();
    second.kill().await;
    until_leading(&first).await;
    until_more_arrives(&receiver).await;
    for process in [first, api] {
        process.kill().await;
    }
    database.discard().await;
}
