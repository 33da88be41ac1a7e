//! The list of events, and the page of one.

use aggregates::attempt_outcome::Outcome;

use super::browser::Browser;
use crate::harness::api::{Api, send};
use crate::harness::events::{accept, attempt, until_listed};
use crate::harness::tenant::User;

#[tokio::test]
async fn the_list_is_filtered_and_paged_by_its_url() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (id, token)) = (user.api_key().await, user.destination().await);
    let mut browser = Browser::of(&user).await;
    browser.get("/events").await.expect(200).has("No events yet").has(&user.tenant_id);
    let mut last = String::new();
    for number in 0..52 {
        let payload = format!("{{\"number\":{number}}}");
        last = send(user.ingest(&key, &token, &payload)).await.expect(202).text_of("eventId");
    }
    until_listed(&user, &last, "Pending").await;
    let first = browser.get(&format!("/events?destination={id}&status=Pending")).await.expect(200);
    first.has("52 events").has("{&quot;number&quot;:51}").lacks("{&quot;number&quot;:1}");
    let (_, older) = first.text.split_once("rel=\"next\" href=\"").expect("a next page");
    let older = older.split('"').next().expect("a link").replace("&amp;", "&").replace("&#38;", "&");
    let second = browser.get(&older).await.expect(200);
    second.has("{&quot;number&quot;:1}").lacks("{&quot;number&quot;:2}").lacks("rel=\"next\"");
    browser.get("/events?status=Cancelled").await.expect(200).has("No event matches");
    browser.get("/events?after=nothing").await.expect(400).has("<code>After</code>");
}

#[tokio::test]
async fn the_list_is_narrowed_by_links_and_searched() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (id, token)) = (user.api_key().await, user.destination().await);
    let (sender, of_sender) = user.sender(&id).await;
    accept(&user, &key, &of_sender).await;
    let (refused, late) = (accept(&user, &key, &token).await, accept(&user, &key, &token).await);
    attempt(&user, &refused, Outcome::RefusedStatus, 1).await;
    attempt(&user, &late, Outcome::Timeout, 9).await;
    until_listed(&user, &refused, "CriticalFailure").await;
    until_listed(&user, &late, "WaitingRetry").await;
    let row = |id: &str| format!("id=\"event-{id}\"");
    let mut browser = Browser::of(&user).await;
    let all = browser.get("/events").await.expect(200);
    all.has(&row(&refused)).has(&row(&late)).has("Refused 503").has("data-live");
    all.has(&format!("href=\"/events?sender={sender}\"><span class=\"truncate\">tests</span>"));
    all.has("href=\"/events?http=503\"").has("href=\"/events?outcome=timeout\"");
    let one = browser.get("/events?outcome=timeout").await.expect(200);
    one.has(&row(&late)).lacks(&row(&refused)).has("1 event<").has("<details class=\"more\" open>");
    let refusals = browser.get("/events?http=503&status=CriticalFailure").await.expect(200);
    refusals.has(&row(&refused)).lacks(&row(&late));

    let found = browser.get("/events?text=push&http=503").await.expect(200);
    found.has("1 event found on this page").has(&row(&refused)).has("were searched").lacks("data-live");
    browser.get("/events?path=event&value=pull").await.expect(200).has("No event matches");
    let refusal = browser.get("/events?value=pull").await.expect(400);
    refusal.has("<b>Value there</b>").has("needs PayloadPath");
    browser.get(&format!("/events?text={late}")).await.leads_to(&format!("/events/{late}"));

    let preview = browser.get(&format!("/events?http=503&event={refused}")).await.expect(200);
    preview.has("Selected event").has("Given up after 1 failed attempt.");
    preview.has(&format!("action=\"/events/{refused}/replay\"")).has("HttpStatus=503");
    let mut viewer = Browser::of(&user.colleague("Viewer").await).await;
    viewer.get(&format!("/events?event={refused}")).await.expect(200).has("Selected event").lacks("/replay");
    let mut stranger = Browser::of(&User::owner(&user.api).await).await;
    stranger.get(&format!("/events?event={refused}")).await.expect(200).lacks("Selected event");
}

#[tokio::test]
async fn an_event_says_why_it_was_not_delivered_and_is_replayed() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (user.api_key().await, user.destination().await);
    let event = accept(&user, &key, &token).await;
    attempt(&user, &event, Outcome::Tls, 1).await;
    until_listed(&user, &event, "CriticalFailure").await;
    let path = format!("/events/{event}");
    let mut viewer = Browser::of(&user.colleague("Viewer").await).await;
    viewer.get(&path).await.expect(200).has("Given up").lacks("/replay\"");
    let mut browser = Browser::of(&user.colleague("Developer").await).await;
    let page = browser.get(&path).await.expect(200);
    page.has("Given up after 1 failed attempt.")
        .has("certificate")
        .has("receiver.example.com")
        .has("class=\"bar failure\"");
    page.lacks("/cancel\"");
    browser
        .get(&format!("{path}?view=facts"))
        .await
        .expect(200)
        .has("Delivery was given up.")
        .has("CriticalFailure");
    let overview = browser.get("/").await.expect(200);
    overview.has("Latest failures").has(&format!("href=\"{path}\"")).has("TLS failed");
    browser.get(&format!("{path}?view=json")).await.expect(200).has("currentRetryCount");
    let replay = format!("{path}/replay");
    let replayed = browser.submit(&page, &replay, &[]).await.leads_to(&format!("{path}?done=replayed"));
    browser.get(replayed.header("location")).await.expect(200).has("Replayed.").has("It was replayed");
    let refused = browser.submit(&page, &replay, &[]).await.expect(400);
    refused.has("The event cannot be replayed").has("Reload the page");
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_after_each_step() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (user.api_key().await, user.destination().await);
    let event = accept(&user, &key, &token).await;
    attempt(&user, &event, Outcome::RefusedStatus, 3).await;
    until_listed(&user, &event, "WaitingRetry").await;
    let path = format!("/events/{event}?view=past");
    let mut browser = Browser::of(&user.colleague("Viewer").await).await;
    let last = browser.get(&path).await.expect(200);
    last.has("After step 3 of 3").has("The attempt ended.").has("Another attempt was scheduled.");
    last.has("<dd>Retrying <span class=\"badge changed\">")
        .has("before: Sending")
        .has("before: none has ended");
    last.has("step=2").lacks("step=4").has("?AsOf=");
    let first = browser.get(&format!("{path}&step=1")).await.expect(200);
    first.has("After step 1 of 3").has("It was accepted and stored.").has("<dd>Waiting</dd>");
    first.lacks("badge changed").has("rel=\"next\"").lacks("rel=\"prev\"").has("step=1\" hx-trigger");
    for unknown in ["0", "99", "-1", "x", ""] {
        browser.get(&format!("{path}&step={unknown}")).await.expect(200).has("After step 3 of 3");
    }
    browser.get(&format!("/events/{event}?view=facts&step=1")).await.expect(200).lacks("step=1");
}

#[tokio::test]
async fn texts_of_others_are_shown_as_text() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (user.api_key().await, user.destination().await);
    let hostile =
        "{\"a\":\"</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}\u{200b}\\u0000\"}";
    let event = send(user.ingest(&key, &token, hostile).header("X-Idempotency-Key", "<b>\"'&key")).await;
    let event = event.expect(202).text_of("eventId");
    until_listed(&user, &event, "Pending").await;
    let mut browser = Browser::of(&user).await;
    for path in ["/events".to_owned(), format!("/events/{event}"), format!("/events/{event}?view=json")] {
        let page = browser.get(&path).await.expect(200);
        page.lacks("<script>").lacks("<img").lacks("<b>").lacks("\u{202e}").lacks("\u{200b}");
        page.has("&lt;script&gt;").has("<span class=\"hidden-char\">U+202E</span>");
    }
    let long = format!("{{\"long\":\"{}end\"}}", "x".repeat(20_000));
    let event = send(user.ingest(&key, &token, &long)).await.expect(202).text_of("eventId");
    browser.get(&format!("/events/{event}")).await.expect(200).has("Show all of it").has("end&quot;");
}

#[tokio::test]
async fn what_is_of_another_tenant_is_not_shown() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let mut browser = Browser::of(&User::owner(&owner.api).await).await;
    let page = browser.get(&format!("/events/{event}")).await;
    assert!([403, 404].contains(&page.status), "{}", page.status);
    page.lacks("push");
}
