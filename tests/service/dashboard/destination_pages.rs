//! The list of destinations, and the page of one.

use aggregates::attempt_outcome::Outcome;

use super::browser::Browser;
use crate::harness::api::{Api, send};
use crate::harness::events::{accept, attempt, until_listed};
use crate::harness::tenant::User;
use crate::harness::until;

/// Returns the ingest token that a page shows.
fn shown_token(page: &super::browser::Page) -> String {
    let (_, rest) = page.text.split_once("id=\"ingest-url\">").expect("an ingest URL");
    let url = rest.split('<').next().expect("a URL");
    url.rsplit('/').next().expect("a token").to_owned()
}

#[tokio::test]
async fn a_destination_is_created_changed_and_switched_off() {
    let user = User::owner(&Api::shared().await).await;
    let key = user.api_key().await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/destinations").await.expect(200);
    page.has("No destinations yet");
    let wrong = [("url", "https://receiver.example.com/a"), ("limit", "many")];
    browser
        .submit(&page, "/destinations", &wrong)
        .await
        .expect(400)
        .has("<b>Concurrent requests at most</b>")
        .has("receiver.example.com/a");
    let fields = [("url", "https://receiver.example.com/a"), ("limit", "3")];
    let created = browser.submit(&page, "/destinations", &fields).await.expect(200);
    let token = shown_token(&created);
    send(user.ingest(&key, &token, "{}")).await.expect(202);
    browser.get("/destinations").await.expect(200).has("receiver.example.com/a").lacks(&token);

    let destinations = user.get("/api/v1/destinations").await.expect(200);
    let id = destinations.body["items"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/destinations/{id}");
    let page = browser.get(&path).await.expect(200);
    page.has("Events are delivered to it.").has("value=\"3\"").lacks(&token);
    let fields = [("url", "https://receiver.example.com/b"), ("limit", "7")];
    let changed = browser.submit(&page, &path, &fields).await.leads_to(&format!("{path}?done=changed"));
    browser.get(changed.header("location")).await.expect(200).has("Saved.").has("receiver.example.com/b");
    let switched = browser.submit(&page, &format!("{path}/switch"), &[("to", "off")]).await;
    browser.get(switched.header("location")).await.expect(200).has("Switched off").has("Switch on");
    send(user.ingest(&key, &token, "{}")).await.expect(422);
    browser
        .submit(&page, &format!("{path}/switch"), &[("to", "on")])
        .await
        .leads_to(&format!("{path}?done=switched-on"));

    let replaced = browser.submit(&page, &format!("{path}/ingest-token"), &[]).await.expect(200);
    send(user.ingest(&key, &token, "{}")).await.expect(404);
    send(user.ingest(&key, &shown_token(&replaced), "{}")).await.expect(202);
}

#[tokio::test]
async fn a_viewer_reads_and_is_offered_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    let mut browser = Browser::of(&owner.colleague("Viewer").await).await;
    let page = browser.get("/destinations").await.expect(200);
    page.has("receiver.example.com").lacks("New destination");
    let one = browser.get(&format!("/destinations/{id}")).await.expect(200);
    one.lacks("name=\"url\"").lacks("/switch").lacks("/ingest-token");
    let path = format!("/destinations/{id}/ingest-token");
    browser.submit(&page, &path, &[]).await.expect(403).has("Your role does not allow this");
}

#[tokio::test]
async fn the_list_shows_the_deliveries_of_the_last_hours() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (user.api_key().await, user.destination().await);
    user.destination().await;
    let (good, bad) = (accept(&user, &key, &token).await, accept(&user, &key, &token).await);
    attempt(&user, &good, Outcome::Succeeded, 1).await;
    attempt(&user, &bad, Outcome::Timeout, 1).await;
    until_listed(&user, &bad, "CriticalFailure").await;
    let mut browser = Browser::of(&user).await;
    let list = until("the statistics", async || {
        let list = browser.get("/destinations").await.expect(200);
        list.text.contains("1 delivered, 1 failed").then_some(list)
    })
    .await;
    list.has("class=\"sparkline\"").has("class=\"bar success\"").has("class=\"bar failure\"");
    assert_eq!(list.text.matches("no deliveries").count(), 1);
}
