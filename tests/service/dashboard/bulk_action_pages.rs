//! Bulk actions: what the list of events offers, the confirmation, the page of one, and their list.

use aggregates::attempt_outcome::Outcome;

use super::browser::Browser;
use crate::harness::api::Api;
use crate::harness::events::{accept, attempt, until_listed};
use crate::harness::tenant::User;
use crate::harness::until;

#[tokio::test]
async fn all_that_match_are_replayed_after_a_confirmation() {
    let owner = User::owner(&Api::shared().await).await;
    let key = owner.api_key().await;
    let (destination, token) = owner.destination().await;
    let event = accept(&owner, &key, &token).await;
    attempt(&owner, &event, Outcome::Timeout, 1).await;
    until_listed(&owner, &event, "CriticalFailure").await;

    let mut browser = Browser::of(&owner).await;
    let list = browser.get(&format!("/events?destination={destination}")).await.expect(200);
    list.has("formaction=\"/bulk-actions/new\"").has("value=\"Replay\"").has("value=\"Cancel\"");
    let one = browser.get(&format!("/events/{event}")).await.expect(200);
    one.has("/bulk-actions/new?action=Replay&amp;status=CriticalFailure&amp;destination=");

    // What the form of the list sends has the fields that are not used as well.
    let new = format!(
        "/bulk-actions/new?text=&status=CriticalFailure&destination={destination}&from=&action=Replay"
    );
    let page = browser.get(&new).await.expect(200);
    page.has("<h2>1 event</h2>").has("Given up").has("receiver.example.com/hooks").has("value=\"50\"");
    let refused = browser.submit(&page, &new, &[("rate", "many")]).await.expect(400);
    refused.has("<b>Events per second at most</b>").has("value=\"many\"");
    let requested = browser.submit(&page, &new, &[("rate", "20")]).await;
    let location = requested.expect(303).header("location").to_owned();
    browser.get(&location).await.expect(200).has("Requested.").has("Replay of 1 event");
    let path = location.split('?').next().expect("a path").to_owned();
    until("the bulk action to be completed", async || {
        browser.get(&path).await.expect(200).text.contains("All events were examined.").then_some(())
    })
    .await;
    let done = browser.get(&path).await.expect(200);
    done.has(&format!("<dt>By</dt><dd>{}</dd>", owner.email))
        .has("<dd>1</dd>")
        .lacks("/cancel")
        .lacks("data-live");
    browser.get("/bulk-actions").await.expect(200).has(&path).has("Completed").has("Status: Given up");
    until_listed(&owner, &event, "Pending").await;
}

#[tokio::test]
async fn a_bulk_action_is_paused_resumed_and_cancelled() {
    let owner = User::owner(&Api::shared().await).await;
    let key = owner.api_key().await;
    let (_, token) = owner.destination().await;
    for _ in 0..6 {
        accept(&owner, &key, &token).await;
    }
    let mut browser = Browser::of(&owner).await;
    let new = "/bulk-actions/new?action=Cancel&status=Pending";
    let page = browser.get(new).await.expect(200);
    page.has("<h2>6 events</h2>").has("this cannot be undone");
    let requested = browser.submit(&page, new, &[("rate", "1")]).await;
    let location = requested.expect(303).header("location").to_owned();
    let path = location.split('?').next().expect("a path").to_owned();
    let page = browser.get(&path).await.expect(200);
    for (change, said) in
        [("pause", "Paused."), ("resume", "Resumed."), ("cancel", "What was done to events is not undone.")]
    {
        let changed = browser.submit(&page, &format!("{path}/{change}"), &[]).await.expect(303);
        browser.get(changed.header("location")).await.expect(200).has(said);
    }
    let refused = browser.submit(&page, &format!("{path}/pause"), &[]).await.expect(409);
    refused.has("The bulk action has ended");
}

#[tokio::test]
async fn a_filter_that_cannot_select_is_explained_and_roles_are_kept() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let refused = browser.get("/bulk-actions/new?action=Cancel&text=push").await.expect(400);
    refused.has("<code>filter</code>").has("cannot select the events").lacks("Cancel them");
    browser.get("/bulk-actions/new?action=Erase").await.expect(404);
    browser.get("/bulk-actions/new?action=Replay").await.expect(200).has("all of them").has("nothing to do");
    browser.get("/bulk-actions").await.expect(200).has("No bulk actions yet");

    let mut developer = Browser::of(&owner.colleague("Developer").await).await;
    developer.get("/events").await.expect(200).has("value=\"Replay\"").lacks("value=\"Cancel\"");
    developer.get("/bulk-actions/new?action=Cancel").await.expect(403).lacks("Cancel them");
    let mut viewer = Browser::of(&owner.colleague("Viewer").await).await;
    viewer.get("/events").await.expect(200).lacks("value=\"Replay\"").lacks("value=\"Cancel\"");
    viewer.get("/bulk-actions").await.expect(200);
}
