//! The state of the installation.

use super::browser::Browser;
use crate::harness::api::{Api, send};
use crate::harness::events::accept;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;
use crate::harness::until;

#[tokio::test]
async fn those_who_administer_are_offered_the_state_of_the_installation() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/system").await.expect(200);
    page.has("<td>Webhook events</td>").has("Unaccounted events").has("href=\"/system\"");
    page.has("Waiting for an attempt").has("Attempts in progress").has("Head of the log");
    let mut viewer = Browser::of(&owner.colleague("Viewer").await).await;
    viewer.get("/events").await.expect(200).lacks("href=\"/system\"").lacks("<dd>System</dd>");
}

#[tokio::test]
async fn every_page_says_that_read_models_are_behind() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url()).ready().await;
    let owner = User::owner(&Api::at(service.base())).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let mut browser = Browser::of(&owner).await;
    let pages =
        ["/", "/events", "/destinations", "/system", "/users", "/account", "/audit"].map(str::to_owned);
    let pages: Vec<String> = pages
        .into_iter()
        .chain([format!("/events/{event}"), format!("/destinations/{destination}")])
        .collect();
    let behind = "Lists show the state of ";
    for page in &pages {
        browser.get(page).await.expect(200).has("id=\"lag\"").lacks(behind);
    }

    // Readers of the table go on, and its writer waits.
    let pool = database.pool().await;
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE webhook_events IN SHARE MODE").execute(&mut *lock).await.expect("a lock");
    send(owner.ingest(&key, &token, "{}")).await.expect(202);
    until("the lag to be said", async || {
        browser.get("/events").await.expect(200).text.contains(behind).then_some(())
    })
    .await;
    for page in &pages {
        browser.get(page).await.expect(200).has(behind).has("Deliveries are not affected.");
    }
    browser.get("/nowhere").await.expect(404).lacks(behind);
    lock.rollback().await.expect("a rollback");
    until("the lag to be over", async || {
        (!browser.get("/events").await.expect(200).text.contains(behind)).then_some(())
    })
    .await;
    pool.close().await;
    assert!(service.stop().await.success());
    database.discard().await;
}
