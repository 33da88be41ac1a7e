//! Processes are killed in the middle of their work; nothing that was accepted is lost.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::account::{Account, Destination};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::until;

/// Sends webhooks on several connections until one fails or `count` are sent, and answers with the ids
/// of those that were accepted.
async fn send_until_it_breaks(account: &Account, destination: &Destination, count: usize) -> HashSet<String> {
    const CONNECTIONS: usize = 8;
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..CONNECTIONS {
        let (account, destination) = (account.clone(), destination.clone());
        senders.spawn(async move {
            let mut accepted = Vec::new();
            for number in 0..count / CONNECTIONS {
                let payload = json!({ "sender": sender, "number": number }).to_string();
                let Ok(answer) = account.try_ingest(&destination, payload).await else { break };
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
async fn dev_is_killed_during_ingest_and_delivers_every_202_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let launch = || {
        // What was in flight at the kill is found out after this time.
        Launch::dev(folder.path())
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "2s")
            .with("HOOKSENTRY_VANISHED_MARGIN", "1s")
    };
    let program = launch().ready().await;
    let receiver = Receiver::answering(200).await;
    let account = Account::register(program.base()).await;
    let destination = account.destination(&receiver.url(), 20).await;

    let sending = send_until_it_breaks(&account, &destination, 1_000);
    let killing = async {
        until("the program to be busy", async || (receiver.count() > 100).then_some(())).await;
        program.kill().await;
    };
    let (accepted, ()) = tokio::join!(sending, killing);
    assert!(accepted.len() >= 100, "it was killed in the middle, not before");

    let program = launch().ready().await;
    let account = account.at(program.base());
    until_all_arrived(&receiver, &accepted).await;
    until("every accepted event to be recorded as delivered", async || {
        (account.count("Succeeded").await >= accepted.len()).then_some(())
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
            .with("AMQP_URL", &broker.url)
            .with("HOOKSENTRY_QUEUE_PREFIX", &broker.prefix)
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
    let account = Account::register(api.base()).await;
    let destination = account.destination(&receiver.url(), 10).await;
    let mut accepted = HashSet::new();
    for number in 0..200 {
        accepted.insert(account.ingest(&destination, &json!({ "number": number })).await);
    }
    until("attempts to be in flight", async || (receiver.count() > 20).then_some(())).await;
    first_worker.kill().await;
    account.until_count("Succeeded", 200).await;
    until_all_arrived(&receiver, &accepted).await;

    // The dispatcher is killed too; the one that takes over knows what is due.
    dispatcher.kill().await;
    let event_id = account.ingest(&destination, &json!({ "number": "last" })).await;
    let dispatcher = launch("dispatcher").ready().await;
    account.until_event(&event_id, "Succeeded").await;
    for process in [api, dispatcher, second_worker] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}
