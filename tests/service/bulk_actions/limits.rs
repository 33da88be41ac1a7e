//! Who may request a bulk action, of what, and how many.

use serde_json::json;

use super::{BULK_ACTIONS, Installation, replay, request};
use crate::harness::api::Answer;
use crate::harness::tenant::Tenant;

#[track_caller]
fn assert_limited(answer: Answer, setting: &str) {
    let answer = answer.expect(422);
    assert_eq!(answer.problem(), "tenant-limit");
    assert!(answer.text_of("detail").contains(setting), "{}", answer.text);
}

#[tokio::test]
async fn a_tenant_has_at_most_so_many_in_progress_at_at_most_such_a_rate() {
    let settings = [("HOOKSENTRY_TENANT_BULK_ACTIONS", "1"), ("HOOKSENTRY_BULK_ACTION_RATE", "10")];
    let installation = Installation::start_with(&settings).await;
    let Installation { tenant, destination, .. } = &installation;
    let post = async |body| tenant.owner().post(BULK_ACTIONS, &body).await;
    assert_limited(post(replay(destination, 11)).await, "HOOKSENTRY_BULK_ACTION_RATE");
    let everything = json!({ "action": "Replay", "filter": {} });
    installation.accept_failed(destination, 3).await;
    let id = installation.request(&replay(destination, 1)).await;
    installation.change(&id, "pause").await;
    assert_limited(post(everything.clone()).await, "HOOKSENTRY_TENANT_BULK_ACTIONS");
    let mut dry = everything.clone();
    dry["dryRun"] = json!(true);
    let dry = post(dry).await.expect(200).body;
    assert_eq!(dry["ratePerSecond"], 10, "the default is not above the limit");
    // Others have their own.
    let neighbour = Tenant::register(installation.process.base()).await;
    request(&neighbour, &everything).await;
    installation.change(&id, "cancel").await;
    post(everything).await.expect(202);
    installation.stop().await;
}

#[tokio::test]
async fn a_filter_that_is_not_understood_selects_nothing() {
    let installation = Installation::start().await;
    let post = async |filter| {
        let body = json!({ "action": "Cancel", "filter": filter });
        installation.tenant.owner().post(BULK_ACTIONS, &body).await
    };
    for wrong in [
        json!({ "statsu": "Pending" }),
        json!({ "idempotencyKey": "order-7" }),
        json!({ "status": "Lost" }),
        json!({ "status": ["Pending"] }),
        json!({ "status": "Pending", "Status": "Failed" }),
        json!({ "from": "never" }),
    ] {
        assert_eq!(post(wrong).await.expect(400).wrong(), ["filter"]);
    }
    let filter = json!({ "Status": 4, "to": "2026-07-03", "from": null });
    let requested = post(filter).await.expect(202).body;
    assert_eq!(requested["filter"], json!({ "status": "WaitingRetry", "to": "2026-07-03T23:59:59.999999Z" }));
    installation.stop().await;
}

#[tokio::test]
async fn who_may_replay_or_cancel_one_event_may_do_so_with_many() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let [developer, viewer, admin] = [
        tenant.owner().colleague("Developer").await,
        tenant.owner().colleague("Viewer").await,
        tenant.owner().colleague("Admin").await,
    ];
    let cancel = json!({ "action": "Cancel", "filter": {}, "ratePerSecond": 1 });
    assert_eq!(developer.post(BULK_ACTIONS, &cancel).await.expect(403).problem(), "role-forbids");
    assert_eq!(
        viewer.post(BULK_ACTIONS, &replay(destination, 1)).await.expect(403).problem(),
        "role-forbids"
    );
    developer.post(BULK_ACTIONS, &replay(destination, 1)).await.expect(202);
    installation.accept(destination, 3).await;
    let id = admin.post(BULK_ACTIONS, &cancel).await.expect(202).text_of("id");
    for change in ["pause", "resume", "cancel"] {
        let path = format!("{BULK_ACTIONS}/{id}/{change}");
        assert_eq!(developer.call(&path).await.expect(403).problem(), "role-forbids");
        assert_eq!(viewer.call(&path).await.expect(403).problem(), "role-forbids");
    }
    viewer.get(&format!("{BULK_ACTIONS}/{id}")).await.expect(200);
    installation.stop().await;
}
