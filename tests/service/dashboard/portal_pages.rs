//! Portal links: made by a user, opened by a customer.

use aggregates::attempt_outcome::Outcome;
use serde_json::json;

use super::browser::Browser;
use crate::harness::api::Api;
use crate::harness::events::{accept, attempt};
use crate::harness::tenant::User;
use crate::harness::until;

/// Name of the cookie of a portal link on this machine.
const PORTAL: &str = "hooksentry-portal";

/// Creates a link as its page does. Returns the path that opens it, and its token.
async fn create(owner: &User, destination: &str, access: &str) -> (String, String) {
    let mut browser = Browser::of(owner).await;
    let page = browser.get(&format!("/portal-links?destination={destination}")).await.expect(200);
    page.has("<option value=\"604800\" selected>");
    let fields =
        [("label", "<i>Shop"), ("destination", destination), ("access", access), ("seconds", "86400")];
    let created = browser.submit(&page, "/portal-links", &fields).await.expect(200);
    let (_, link) = created.text.split_once("/portal#").expect("a link");
    let token = link.split('<').next().unwrap_or_default().to_owned();
    browser.get("/portal-links").await.expect(200).has("&lt;i&gt;Shop").lacks("<i>Shop").lacks(&token);
    (format!("/portal#{token}"), token)
}

/// Returns a browser that has opened a link.
async fn open(owner: &User, token: &str) -> Browser {
    let mut browser = Browser::new(&owner.api);
    let page = browser.get("/portal").await.expect(200);
    browser.submit(&page, "/portal", &[("token", token)]).await.leads_to("/portal/events");
    browser
}

#[tokio::test]
async fn a_customer_sees_one_destination_and_replays_and_cancels() {
    let owner = User::owner(&Api::shared().await).await;
    let key = owner.api_key().await;
    let ((destination, token), (_, other_token)) = (owner.destination().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let other = accept(&owner, &key, &other_token).await;
    attempt(&owner, &event, Outcome::RefusedStatus, 1).await;
    until("the delivery to be given up", async || {
        let shown = owner.get(&format!("/api/v1/events/{event}")).await.expect(200);
        (shown.body["status"] == "CriticalFailure").then_some(())
    })
    .await;
    let (path, token) = create(&owner, &destination, "Operate").await;
    assert_eq!(path, format!("/portal#{token}"));

    let mut browser = open(&owner, &token).await;
    let list = browser.get("/portal/events").await.expect(200);
    list.has(&event).has("Deliveries to").lacks(&other).lacks("/bulk-actions").lacks("data-live");
    list.lacks("href=\"/events").lacks("/destinations").lacks("/audit").lacks(&token);
    let previewed = browser.get(&format!("/portal/events?event={event}")).await.expect(200);
    previewed.has("Selected event").has(&format!("/portal/events/{event}/replay"));
    browser.get("/portal/events?status=Succeeded").await.expect(200).lacks(&event);
    browser.get("/portal/events?text=push").await.expect(200).has(&event);
    let page = browser.get(&format!("/portal/events/{event}")).await.expect(200);
    page.has("Replay it")
        .lacks("Facts")
        .lacks("<dt>Worker")
        .lacks("Download the proofs")
        .lacks("/bulk-actions");
    page.lacks("href=\"/events").lacks("data-live");
    browser.get(&format!("/portal/events/{other}")).await.expect(404);
    browser.submit(&page, &format!("/portal/events/{other}/cancel"), &[]).await.expect(404);
    let done = |what| format!("/portal/events/{event}?done={what}");
    let act = |what| format!("/portal/events/{event}/{what}");
    browser.submit(&page, &act("replay"), &[]).await.leads_to(&done("replayed"));
    browser.submit(&page, &act("cancel"), &[]).await.leads_to(&done("cancelled"));
    browser.submit(&page, &act("cancel"), &[]).await.expect(400).has("cannot be cancelled");
    // The link is no session.
    browser.get("/events").await.leads_to("/sign-in?next=%2Fevents");
    browser.get("/").await.leads_to("/portal/events");

    browser.submit(&page, "/portal/sign-out", &[]).await.leads_to("/portal");
    assert_eq!(browser.cookies[PORTAL], "");
    browser.get("/portal/events").await.leads_to("/portal?ended=1");
    browser.get("/").await.leads_to("/sign-in");
}

#[tokio::test]
async fn a_link_that_only_shows_offers_nothing_else_and_ends_when_it_is_revoked() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, token) = owner.destination().await;
    let event = accept(&owner, &owner.api_key().await, &token).await;
    let (_, token) = create(&owner, &destination, "Read").await;
    let mut browser = open(&owner, &token).await;
    let page = browser.get(&format!("/portal/events/{event}")).await.expect(200);
    page.lacks("Cancel it");
    browser.submit(&page, &format!("/portal/events/{event}/cancel"), &[]).await.expect(403);

    let mut of_owner = Browser::of(&owner).await;
    let list = of_owner.get("/portal-links").await.expect(200);
    let (_, revoke) = list.text.split_once("action=\"/portal-links/").expect("a link in force");
    let revoke = format!("/portal-links/{}", revoke.split('"').next().expect("a path"));
    of_owner.submit(&list, &revoke, &[]).await.leads_to("/portal-links?done=revoked");
    of_owner.get("/portal-links?done=revoked").await.expect(200).has("revoked <time");
    browser.get(&format!("/portal/events/{event}")).await.leads_to("/portal?ended=1");
    let page = browser.get("/portal?ended=1").await.expect(200);
    page.has("The link has ended");
    browser.submit(&page, "/portal", &[("token", &token)]).await.expect(400).has("<b>Code of the link</b>");
}

#[tokio::test]
async fn only_the_token_of_a_link_opens_one() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::new(&owner.api);
    let page = browser.get("/portal").await.expect(200);
    for token in ["", "ptl_0", owner.token.as_str(), &owner.api_key().await] {
        browser.submit(&page, "/portal", &[("token", token)]).await.expect(400);
        assert!(!browser.cookies.contains_key(PORTAL), "{token}");
    }
    // Links are made by admins.
    let mut developer = Browser::of(&owner.colleague("Developer").await).await;
    developer.get("/api-keys").await.expect(200).lacks("/portal-links");
    developer.get("/portal-links").await.expect(403);
    let (destination, _) = owner.destination().await;
    let link = json!({ "destinationId": destination, "access": "Read", "label": "a" });
    owner.colleague("Admin").await.post("/api/v1/portal-links", &link).await.expect(201);
}
