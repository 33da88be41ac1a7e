//! Erasure of one payload and of many, and the legal hold that forbids it.

use aggregates::attempt_outcome::Outcome;

use super::browser::Browser;
use crate::harness::api::Api;
use crate::harness::events::{accept, attempt, start_attempt, until_listed};
use crate::harness::tenant::User;
use crate::harness::until;

#[tokio::test]
async fn a_payload_is_erased_after_a_page_that_says_what_is_lost() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let (failed, busy) = (accept(&owner, &key, &token).await, accept(&owner, &key, &token).await);
    attempt(&owner, &failed, Outcome::Timeout, 1).await;
    start_attempt(&owner, &busy).await;
    until_listed(&owner, &failed, "CriticalFailure").await;
    until_listed(&owner, &busy, "Processing").await;

    let mut browser = Browser::of(&owner).await;
    let erase = format!("/events/{failed}/erase");
    browser.get(&format!("/events/{failed}")).await.expect(200).has(&format!("href=\"{erase}\""));
    let page = browser.get(&erase).await.expect(200);
    page.has("Its payload, 16 bytes.").has("it cannot be replayed").has("cannot be undone");
    let refused = browser.submit(&page, &erase, &[("reason", " ")]).await.expect(400);
    refused.has("<b>Reason</b>").has("Erase the payload");
    let reason = [("reason", "Request <b>7</b>"), ("sure", "on")];
    let done = browser.submit(&page, &erase, &reason).await;
    let done = done.leads_to(&format!("/events/{failed}?done=erased"));
    let event = browser.get(done.header("location")).await.expect(200);
    event.has("The payload is gone").has("Request &lt;b&gt;7&lt;/b&gt;").lacks(&erase);
    browser.get(&erase).await.expect(200).has("has been erased already").lacks("name=\"reason\"");

    let erase = format!("/events/{busy}/erase");
    browser.get(&erase).await.expect(200).has("An attempt is in progress.");
    let refused = browser.submit(&page, &erase, &reason).await.expect(409);
    refused.has("Wait until the attempt has ended").has("value=\"Request &#60;b&#62;7&#60;/b&#62;\"");

    let mut developer = Browser::of(&owner.colleague("Developer").await).await;
    developer.get(&format!("/events/{busy}")).await.expect(200).lacks(&erase);
    developer.get(&erase).await.expect(200).has("Your role does not allow it").lacks("name=\"reason\"");
    developer.submit(&page, &erase, &reason).await.expect(403);
}

#[tokio::test]
async fn the_payloads_of_all_that_match_are_erased_with_progress() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    accept(&owner, &key, &token).await;

    let mut browser = Browser::of(&owner).await;
    browser.get("/events").await.expect(200).has("formaction=\"/erasures/new\"");
    // What the form of the list sends has the fields that are not used as well.
    let new = format!("/erasures/new?text=&destination={destination}&from=&status=Pending");
    let page = browser.get(&new).await.expect(200);
    page.has("<h2>2 events</h2>").has("Waiting").has("receiver.example.com/hooks").has("What is lost");
    let refused = browser.submit(&page, &new, &[("reason", "")]).await.expect(400);
    refused.has("<b>Reason</b>").has("<h2>2 events</h2>");
    let requested = browser.submit(&page, &new, &[("reason", "Request 7"), ("sure", "on")]).await;
    let location = requested.expect(303).header("location").to_owned();
    browser.get(&location).await.expect(200).has("Requested.").has("Erasure of the payloads of 2 events");
    let path = location.split('?').next().expect("a path").to_owned();
    until("the erasure to be completed", async || {
        browser
            .get(&path)
            .await
            .expect(200)
            .text
            .contains("All events that it was for were reached.")
            .then_some(())
    })
    .await;
    let done = browser.get(&path).await.expect(200);
    done.has("<dt>Erased</dt><dd>2</dd>").has("<dd>Request 7</dd>").has(&owner.email).lacks("data-live");
    done.has("/audit?type=ErasureRequested");
    // The facts of the last events are applied after the erasure has reached them.
    until("the event to be shown as cancelled", async || {
        let shown = browser.get(&format!("/events/{event}")).await.expect(200).text;
        (shown.contains("Erased on request") && shown.contains("It was cancelled")).then_some(())
    })
    .await;
    let trail = until("the trail", async || {
        let trail = browser.get("/audit?type=ErasureRequested").await.expect(200);
        trail.text.contains("<details>").then_some(trail)
    })
    .await;
    trail.has(&format!("href=\"{path}\""));

    let mut viewer = Browser::of(&owner.colleague("Viewer").await).await;
    viewer.get("/events").await.expect(200).lacks("/erasures/new");
    viewer.get(&path).await.expect(200).lacks("/audit?type");
    viewer.get(&new).await.expect(403).lacks("name=\"reason\"");
}

#[tokio::test]
async fn a_filter_that_an_erasure_does_not_understand_erases_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let form = browser.get("/account").await.expect(200);
    for filter in ["text=push", "http=503", "outcome=timeout", "key=a", "status=Pending&sender=7"] {
        let new = format!("/erasures/new?{filter}");
        let page = browser.get(&new).await.expect(200);
        page.has("This filter cannot select them").lacks("name=\"reason\"");
        let submitted = browser.submit(&form, &new, &[("reason", "Request 7")]).await.expect(200);
        submitted.has("This filter cannot select them");
    }
    browser.get("/erasures/new?status=Nothing").await.expect(400).has("<b>Status</b>");
    browser.get("/erasures/new").await.expect(200).has("all of them").has("nothing to erase");
    let mut admin = Browser::of(&owner.colleague("Admin").await).await;
    admin.get("/erasures/new").await.expect(403).has("Only an Owner");
}

#[tokio::test]
async fn a_legal_hold_on_a_destination_keeps_payloads_until_it_is_lifted() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let mut browser = Browser::of(&owner).await;
    let path = format!("/destinations/{destination}");
    let page = browser.get(&path).await.expect(200);
    page.has("None on this destination.").has("Place a hold");
    let hold = format!("{path}/legal-hold");
    browser.submit(&page, &hold, &[("reason", "")]).await.expect(400).has("<b>Reason</b>");
    let reason = [("reason", "Case <i>12</i>")];
    let held = browser.submit(&page, &hold, &reason).await.leads_to(&format!("{path}?done=held"));
    let page = browser.get(held.header("location")).await.expect(200);
    page.has("The legal hold is in force").has("Case &lt;i&gt;12&lt;/i&gt;").has("Lift the hold");
    let mut admin = Browser::of(&owner.colleague("Admin").await).await;
    admin.get(&path).await.expect(200).has("Case &lt;i&gt;12&lt;/i&gt;").lacks("/legal-hold/lift");

    let erase = format!("/events/{event}/erase");
    let kept = browser.get(&erase).await.expect(200);
    kept.has("A legal hold keeps it").has("Case &lt;i&gt;12&lt;/i&gt;").lacks("name=\"reason\"");
    let refused = browser.submit(&page, &erase, &[("reason", "Request 7")]).await.expect(409);
    refused.has("An owner can lift the hold.").has("under a legal hold since");
    let new = format!("/erasures/new?destination={destination}");
    browser.get(&new).await.expect(409).has("under a legal hold since").lacks("name=\"reason\"");
    let lifted = browser.submit(&page, &format!("{hold}/lift"), &[("reason", "Settled")]).await;
    let lifted = lifted.leads_to(&format!("{path}?done=lifted"));
    browser.get(lifted.header("location")).await.expect(200).has("The legal hold is lifted.");
    browser.get(&erase).await.expect(200).lacks("A legal hold keeps it").has("name=\"reason\"");
    browser.submit(&page, &erase, &[("reason", "Request 7")]).await.expect(303);
}
