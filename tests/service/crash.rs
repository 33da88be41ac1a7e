//! Processes are killed in the middle of their work; nothing that was accepted is lost.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::{client, until};

/// Sends webhooks on several connections until one fails or `count` are sent. Returns the ids of those that were
/// accepted.
async fn send_until_it_breaks(tenant: &Tenant, destination: &Destination, count: usize) -> HashSet<String> {
    const CONNECTIONS: usize = 8;
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..CONNECTIONS {
        let (tenant, destination) = (tenant.clone(), destination.clone());
        senders.spawn(async move {
            let mut accepted = Vec::new();
            for number in 0..count / CONNECTIONS {
                let payload = json!({ "sender": sender, "number": number }).to_string();
                let Ok(answer) = tenant.try_ingest(&destination, payload).await else { break };
                if answer.status() != 202 {
                    break;
                }
                let Ok(body) = answer.json::<serde_json::Value>().await else { break };
                accepted.push(body["eventId"].as_str().expect("an id").to_owned());
            }
            accepted
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

async fn until_all_arrived(receiver: &Receiver, accepted: &HashSet<String>) {
    until("every accepted event to arrive", async || {
        let arrived: HashSet<String> =
            receiver.arrivals().iter().map(|arrival| arrival.event_id().to_owned()).collect();
        accepted.is_subset(&arrived).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dev_killed_during_ingest_delivers_every_accepted_event_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let launch = || {
        // Attempts in flight at the kill are given up after this time.
        Launch::dev(folder.path())
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "2s")
            .with("HOOKSENTRY_VANISHED_MARGIN", "1s")
    };
    let program = launch().ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 20).await;

    let sending = send_until_it_breaks(&tenant, &destination, 1_000);
    let killing = async {
        until("the program to be busy", async || (receiver.count() > 100).then_some(())).await;
        program.kill().await;
    };
    let (accepted, ()) = tokio::join!(sending, killing);
    assert!(accepted.len() >= 100, "it was killed during ingest, not before");

    let program = launch().ready().await;
    let tenant = tenant.at(program.base());
    until_all_arrived(&receiver, &accepted).await;
    until("every accepted event to be recorded as delivered", async || {
        (tenant.count("Succeeded").await >= accepted.len()).then_some(())
    })
    .await;
    assert!(program.stop().await.success());
}

#[tokio::test]
async fn a_worker_killed_with_attempts_in_flight_loses_nothing() {
    let database = TestDatabase::create().await;
    let broker = SharedBroker::connect().await;
    let launch = |roles: &str| {
        Launch::serve(roles, &database.url())
            .through(&broker)
            .with("HOOKSENTRY_RETRY_BASE", "50ms")
            .with("HOOKSENTRY_RETRY_FACTOR", "1")
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "2s")
            .with("HOOKSENTRY_VANISHED_MARGIN", "1s")
    };
    let api = launch("api,projector").ready().await;
    let dispatcher = launch("dispatcher").ready().await;
    let first_worker = launch("worker").ready().await;
    let second_worker = launch("worker").ready().await;
    let receiver = Receiver::answering(200).await;
    receiver.delay(Duration::from_millis(100));
    let tenant = Tenant::register(api.base()).await;
    let destination = tenant.destination(&receiver.url(), 10).await;
    let mut accepted = HashSet::new();
    for number in 0..200 {
        accepted.insert(tenant.ingest(&destination, &json!({ "number": number })).await);
    }
    until("attempts to be in flight", async || (receiver.count() > 20).then_some(())).await;
    first_worker.kill().await;
    tenant.until_count("Succeeded", 200).await;
    until_all_arrived(&receiver, &accepted).await;

    // The dispatcher is killed too; its successor loads what is due.
    dispatcher.kill().await;
    let event_id = tenant.ingest(&destination, &json!({ "number": "last" })).await;
    let dispatcher = launch("dispatcher").ready().await;
    tenant.until_event(&event_id, "Succeeded").await;
    for process in [api, dispatcher, second_worker] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}

/// The leader of projector and dispatcher is killed, and the next one paused: a paused process keeps its
/// connections, so only the server can take the lead from it.
#[tokio::test]
async fn a_leader_that_is_killed_or_paused_is_replaced() {
    let database = TestDatabase::create().await;
    let broker = SharedBroker::connect().await;
    let launch = |roles: &str| Launch::serve(roles, &database.url()).through(&broker).ready();
    let first = launch("projector,dispatcher").await;
    let (api, worker, second) = tokio::join!(launch("api"), launch("worker"), launch("projector,dispatcher"));
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(api.base()).await;
    let destination = tenant.destination(&receiver.url(), 10).await;
    let accept = async |number: usize| tenant.ingest(&destination, &json!({ "number": number })).await;
    let event_id = accept(1).await;
    tenant.until_event(&event_id, "Succeeded").await;

    first.kill().await;
    let event_id = accept(2).await;
    tenant.until_event(&event_id, "Succeeded").await;

    let third = launch("projector,dispatcher").await;
    second.signal("STOP").await;
    let event_id = accept(3).await;
    tenant.until_event(&event_id, "Succeeded").await;

    // The process continues, finds that it has lost the lead, and waits for it again.
    second.signal("CONT").await;
    third.kill().await;
    let event_id = accept(4).await;
    tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!(receiver.count(), 4, "each once");
    for process in [api, worker, second] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}

#[tokio::test]
async fn a_stopping_worker_finishes_attempts_in_flight_and_returns_its_other_jobs() {
    let database = TestDatabase::create().await;
    let broker = SharedBroker::connect().await;
    let launch = |roles: &str| {
        Launch::serve(roles, &database.url())
            .through(&broker)
            .with("HOOKSENTRY_RETRY_BASE", "50ms")
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "20s")
            .with("HOOKSENTRY_VANISHED_MARGIN", "100ms")
            // Of ten jobs four are attempted at once, and the others prefetched.
            .with("HOOKSENTRY_WORKER_CONCURRENCY", "4")
            .with("HOOKSENTRY_SHUTDOWN_DEADLINE", "15s")
    };
    let others = launch("api,projector,dispatcher").ready().await;
    let worker = launch("worker").ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(others.base()).await;
    let destination = tenant.destination(&receiver.url(), 10).await;
    receiver.hold();
    for number in 0..10 {
        tenant.ingest(&destination, &json!({ "number": number })).await;
    }
    until("attempts to be in flight", async || (receiver.in_flight() == 4).then_some(())).await;

    let ready = format!("{}/health/ready", worker.base());
    let (stopped, ()) = tokio::join!(worker.stop(), async {
        until("the worker to take no more jobs", async || {
            let health = client().get(&ready).send().await.ok()?.text().await.ok()?;
            health.contains("stopping").then_some(())
        })
        .await;
        receiver.release();
    });
    assert!(stopped.success(), "it finished its attempts");
    tenant.until_count("Succeeded", 4).await;
    assert_eq!(receiver.count(), 4, "it began no other attempt");

    // The next worker gets the rest at once, and does not finish within its shutdown deadline.
    receiver.hold();
    let worker = launch("worker").with("HOOKSENTRY_SHUTDOWN_DEADLINE", "1s").ready().await;
    until("attempts to be in flight", async || (receiver.in_flight() == 4).then_some(())).await;
    assert!(!worker.stop().await.success(), "its exit code says that it did not finish");
    receiver.release();
    let worker = launch("worker").ready().await;
    tenant.until_count("Succeeded", 10).await;
    assert_eq!(receiver.count(), 14, "only unfinished attempts are repeated");
    for process in [worker, others] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}

#[tokio::test]
async fn an_event_that_crashes_several_workers_in_a_row_is_given_up() {
    let database = TestDatabase::create().await;
    let broker = SharedBroker::connect().await;
    let launch = |roles: &str| {
        Launch::serve(roles, &database.url())
            .through(&broker)
            .with("HOOKSENTRY_RETRY_BASE", "50ms")
            .with("HOOKSENTRY_RETRY_FACTOR", "1")
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "3s")
            .with("HOOKSENTRY_VANISHED_MARGIN", "2s")
            .ready()
    };
    let others = launch("api,projector,dispatcher").await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(others.base()).await;
    tenant.resilience(1, 300).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    // Every worker is killed during its attempt.
    receiver.hold();
    let event_id = tenant.ingest(&destination, &json!({ "event": "poison" })).await;
    for attempt in 1..=5 {
        let worker = launch("worker").await;
        until("an attempt to be in flight", async || (receiver.count() == attempt).then_some(())).await;
        worker.kill().await;
    }
    let event = tenant.until_event(&event_id, "CriticalFailure").await;
    assert_eq!(event["currentRetryCount"], 1);
    let attempts = tenant.get(&format!("events/{event_id}/attempts")).await;
    let outcomes: Vec<_> =
        attempts["items"].as_array().expect("a list").iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["unknown"; 5]);
    assert!(others.stop().await.success());
    database.discard().await;
}
