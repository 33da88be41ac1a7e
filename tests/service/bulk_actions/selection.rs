//! Which events a bulk action is for, and what becomes of each.

use serde_json::{Value, json};

use super::{BULK_ACTIONS, Installation, counts, replay, request, until_completed};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::until;

#[tokio::test]
async fn the_failed_events_of_a_destination_are_replayed_and_no_others() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let other = tenant.destination("https://other.example.com/hooks", 5).await;
    let failed = installation.accept_failed(destination, 5).await;
    let (others, waiting) =
        (installation.accept_failed(&other, 2).await, installation.accept(destination, 1).await);
    let mut dry = replay(destination, 100);
    dry["dryRun"] = json!(true);
    let dry = tenant.owner().post(BULK_ACTIONS, &dry).await.expect(200).body;
    assert_eq!((&dry["id"], &dry["state"], &dry["events"]), (&Value::Null, &Value::Null, &json!(5)));

    let id = installation.request(&replay(destination, 100)).await;
    let action = installation.until_completed(&id).await;
    assert_eq!((counts(&action), &action["events"]), ([5, 5, 0, 0, 0, 0], &json!(5)));
    assert_eq!(action["filter"], json!({ "status": "CriticalFailure", "destinationUrlId": destination.id }));
    assert_eq!((&action["requestedBy"], &action["action"]), (&json!(tenant.owner().id), &json!("Replay")));
    for event in &failed {
        let history = tenant.get(&format!("events/{event}/history")).await;
        let last = history["items"].as_array().expect("facts").last().expect("a fact");
        assert_eq!(
            (&last["type"], &last["actor"]),
            (&json!("Replayed"), &json!(format!("user:{}", tenant.owner().id)))
        );
        assert_eq!(last["bulkActionId"], json!(id));
    }
    for event in others.iter().chain(&waiting) {
        assert!(!installation.is_replayed(event).await);
    }
    let listed = tenant.get("bulk-actions?State=Completed").await;
    assert_eq!((&listed["total"], &listed["items"][0]), (&json!(1), &action));
    assert_eq!(tenant.get("bulk-actions?State=Running").await["total"], 0);
    // Another tenant learns nothing.
    let stranger = Tenant::register(installation.process.base()).await;
    stranger.owner().get(&format!("{BULK_ACTIONS}/{id}")).await.expect(403);
    assert_eq!(stranger.get("bulk-actions").await["total"], 0);
    installation.stop().await;
}

#[tokio::test]
async fn events_that_refuse_are_counted_by_their_reasons() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let failed = installation.accept_failed(destination, 2).await;
    let waiting = installation.accept(destination, 2).await;
    let erase = format!("/api/v1/events/{}/erase", failed[0]);
    tenant.owner().post(&erase, &json!({ "reason": "Request 7" })).await.expect(200);
    installation.start_attempt(&waiting[0]).await;
    installation.until_listed(&waiting[0], "Processing").await;

    let everything = |action: &str| json!({ "action": action, "filter": {} });
    let id = installation.request(&everything("Cancel")).await;
    let cancelled = installation.until_completed(&id).await;
    assert_eq!(counts(&cancelled), [4, 1, 0, 0, 2, 1]);
    assert_eq!(installation.facts_of(&waiting[1]).await, ["EventAccepted", "Cancelled"]);

    let id = installation.request(&everything("Replay")).await;
    let replayed = installation.until_completed(&id).await;
    assert_eq!(counts(&replayed), [4, 1, 2, 1, 0, 0]);
    assert!(installation.is_replayed(&failed[1]).await && !installation.is_replayed(&failed[0]).await);

    let trail = tenant.get("audit?Qt=200").await;
    let end = |fact: &&Value| fact["type"] == "BulkActionCompleted";
    assert_eq!(trail["items"].as_array().expect("facts").iter().filter(end).count(), 2, "{trail}");
    installation.stop().await;
}

#[tokio::test]
async fn a_payload_that_retention_erased_is_a_reason_to_refuse() {
    let installation = Installation::start().await;
    let failed = installation.accept_failed(&installation.destination, 2).await;
    // Retention erases payloads without a fact.
    sqlx::query("DELETE FROM payloads WHERE event_id = $1::uuid")
        .bind(&failed[0])
        .execute(installation.pool())
        .await
        .expect("a payload");
    let id = installation.request(&replay(&installation.destination, 100)).await;
    assert_eq!(counts(&installation.until_completed(&id).await), [2, 1, 0, 1, 0, 0]);
    assert!(installation.is_replayed(&failed[1]).await && !installation.is_replayed(&failed[0]).await);
    installation.stop().await;
}

#[tokio::test]
async fn the_selection_is_that_of_the_request() {
    let installation = Installation::start().await;
    let Installation { destination, .. } = &installation;
    let failed = installation.accept_failed(destination, 3).await;
    let waiting = installation.accept(destination, 2).await;
    installation.until_listed(&waiting[1], "Pending").await;
    let replays = installation.request(&replay(destination, 1)).await;
    let filter = json!({ "status": "Pending", "destinationUrlId": destination.id });
    let cancels = json!({ "action": "Cancel", "filter": filter, "ratePerSecond": 1 });
    let cancels = installation.request(&cancels).await;
    for id in [&replays, &cancels] {
        assert_eq!(installation.change(id, "pause").await["state"], "Paused");
    }
    // What changes afterwards does not change the selection.
    let later = installation.accept_failed(destination, 1).await;
    let is_cancelled = installation.facts_of(&waiting[1]).await.len() > 1;
    if !is_cancelled {
        installation.attempt(&waiting[1], 5).await;
        installation.until_listed(&waiting[1], "WaitingRetry").await;
    }
    let new = installation.accept(destination, 1).await;
    for id in [&replays, &cancels] {
        assert_eq!(installation.change(id, "resume").await["state"], "Running");
    }
    assert_eq!(counts(&installation.until_completed(&replays).await)[..2], [3, 3]);
    assert_eq!(counts(&installation.until_completed(&cancels).await)[..2], [2, 2]);
    for event in &failed {
        assert!(installation.is_replayed(event).await);
    }
    assert!(!installation.is_replayed(&later[0]).await);
    for event in &waiting {
        assert_eq!(installation.facts_of(event).await.last().expect("a fact"), "Cancelled");
    }
    assert_eq!(installation.facts_of(&new[0]).await, ["EventAccepted"]);
    installation.stop().await;
}

#[tokio::test]
async fn replayed_events_are_delivered() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let (tenant, receiver) = (Tenant::register(service.base()).await, Receiver::answering(500).await);
    tenant.resilience(1, 5).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let events = super::accept(&tenant, &destination, 3).await;
    tenant.until_count("CriticalFailure", events.len()).await;
    receiver.answer(200);
    let id = request(&tenant, &replay(&destination, 100)).await;
    assert_eq!(counts(&until_completed(&tenant, &id).await)[..2], [3, 3]);
    until("all events to be delivered", async || (tenant.count("Succeeded").await == 3).then_some(())).await;
    assert!(service.stop().await.success());
    database.discard().await;
}
