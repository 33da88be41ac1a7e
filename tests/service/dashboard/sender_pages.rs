//! Senders, their mappings, and test events.

use super::browser::{Browser, Page};
use crate::harness::api::{Api, send};
use crate::harness::events::until_listed;
use crate::harness::tenant::User;

/// Returns the path of the resource whose ingest token a page shows.
fn path_of(page: &Page) -> String {
    let (_, rest) = page.text.split_once("button primary\" href=\"").expect("a link");
    rest.split('"').next().expect("a path").to_owned()
}

#[tokio::test]
async fn a_sender_is_created_its_token_replaced_and_deleted() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (destination, _)) = (user.api_key().await, user.destination().await);
    let mut browser = Browser::of(&user).await;
    let page = browser.get(&format!("/destinations/{destination}")).await.expect(200);
    let senders = format!("/destinations/{destination}/senders");
    let long = "x".repeat(256);
    browser.submit(&page, &senders, &[("label", &long)]).await.expect(400).has("<b>Label</b> must");
    let created = browser.submit(&page, &senders, &[("label", "<b>Shop")]).await.expect(200);
    let token = created.hidden("token");
    assert!(token.starts_with("sndr_"), "{token}");
    send(user.ingest(&key, &token, "{}")).await.expect(202);
    let path = path_of(&created);
    browser.get(&format!("/destinations/{destination}")).await.expect(200).has(&path).has("&lt;b&gt;Shop");
    browser.get(&path).await.expect(200).has("&lt;b&gt;Shop").lacks("<b>Shop").lacks(&token);

    let replaced = browser.submit(&page, &format!("{path}/ingest-token"), &[]).await.expect(200);
    send(user.ingest(&key, &token, "{}")).await.expect(404);
    let token = replaced.hidden("token");
    send(user.ingest(&key, &token, "{}")).await.expect(202);

    let deleted = browser.submit(&page, &format!("{path}/delete"), &[]).await;
    let deleted = deleted.leads_to(&format!("/destinations/{destination}?done=sender-deleted"));
    browser.get(deleted.header("location")).await.expect(200).has("The sender is deleted.").lacks(&path);
    send(user.ingest(&key, &token, "{}")).await.expect(404);
    browser.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_mapping_is_tried_on_a_payload_of_the_sender_and_saved() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (destination, direct)) = (user.api_key().await, user.destination().await);
    let (id, token) = user.sender(&destination).await;
    let (path, mapping) = (format!("/senders/{id}"), format!("/senders/{id}/mapping"));
    let mut browser = Browser::of(&user).await;
    browser.get(&path).await.expect(200).has("Paste a payload of the source");
    let of_sender = send(user.ingest(&key, &token, r#"{"order":{"id":1.50}}"#)).await.expect(202);
    let of_sender = of_sender.text_of("eventId");
    let other = send(user.ingest(&key, &direct, r#"{"other":1}"#)).await.expect(202).text_of("eventId");
    until_listed(&user, &of_sender, "Pending").await;
    until_listed(&user, &other, "Pending").await;
    let page = browser.get(&format!("{path}?event={of_sender}")).await.expect(200);
    page.has("&#34;id&#34;: 1.50").lacks("&#34;other&#34;");

    let payload = ("payload", r#"{"order":{"id":1.50}}"#);
    let tried =
        browser.submit(&page, &mapping, &[("mapping", r#"{"n":"order:id","m":"no"}"#), payload]).await;
    tried.expect(200).has("&quot;n&quot;: 1.50").has("no value for them: <code>m</code>");
    assert!(user.get(&format!("/api/v1{mapping}")).await.status == 404, "a preview stores nothing");
    for (given, said) in [
        (r#"{"n":"order[0"}"#, "<b>In the mapping,</b> the value of key"),
        (r#"{"n":"a",}"#, "<b>Mapping</b> is not JSON: key must be a string at line 1 column 10"),
        ("", "<b>Mapping</b> is not JSON"),
        ("[]", "<b>Mapping</b>"),
        (r#"{"<img src=x>":1}"#, "&#60;img src=x&#62;"),
    ] {
        for action in ["preview", "save"] {
            let fields = [("mapping", given), payload, ("action", action)];
            let refused = browser.submit(&page, &mapping, &fields).await.expect(400);
            refused.has(said).has("1.50").lacks("<img");
        }
    }
    let fields = [("mapping", "{}"), ("payload", "[1]")];
    browser.submit(&page, &mapping, &fields).await.expect(400).has("<b>Payload</b>");

    for key in ["n", "second"] {
        let text = format!("{{\"{key}\":\"order:id\"}}");
        let fields = [("mapping", text.as_str()), payload, ("action", "save")];
        let saved = browser.submit(&page, &mapping, &fields).await.leads_to(&format!("{path}?done=mapped"));
        let shown = browser.get(saved.header("location")).await.expect(200);
        shown.has("Saved.").has(&format!("&#34;{key}&#34;: &#34;order:id&#34;"));
    }
    let removed = browser.submit(&page, &format!("{mapping}/remove"), &[]).await;
    browser.get(removed.header("location")).await.expect(200).has("Removed.").has("byte for byte");
}

#[tokio::test]
async fn a_viewer_reads_a_sender_and_is_offered_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, _) = owner.destination().await;
    let (id, _) = owner.sender(&destination).await;
    let path = format!("/senders/{id}");
    owner.post(&format!("/api/v1{path}/mapping"), &serde_json::json!({ "k": "value" })).await.expect(200);
    let mut browser = Browser::of(&owner.colleague("Viewer").await).await;
    let page = browser.get(&path).await.expect(200);
    page.has("&quot;value&quot;").lacks("<textarea").lacks("/ingest-token").lacks("/delete");
    browser.get(&format!("/destinations/{destination}")).await.expect(200).has(&path).lacks("Add sender");
    let fields = [("mapping", "{}"), ("payload", "{}"), ("action", "save")];
    for form in ["ingest-token", "delete", "mapping", "mapping/remove"] {
        let refused = browser.submit(&page, &format!("{path}/{form}"), &fields).await.expect(403);
        refused.has("Your role does not allow this");
    }
}

#[tokio::test]
async fn a_test_event_is_sent_as_a_source_sends_it() {
    let user = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (user.api_key().await, user.destination().await);
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/test-event").await.expect(200);
    let url = format!("https://hooks.example.com/api/v1/ingest/{}/{token}", user.tenant_id);
    for token in [token.as_str(), &url] {
        let sent = browser.submit(&page, "/test-event", &[("token", token), ("key", &key)]).await.expect(303);
        let location = sent.header("location").to_owned();
        browser.get(&location).await.expect(200).has("The test event was accepted.").has("test-event-");
    }
    for (token, key, payload, said) in [
        ("dst_1", key.as_str(), "{}", "Not found"),
        ("other", &key, "{}", "<b>Ingest URL</b> must begin with dst_ or sndr_"),
        (&token, "wrong", "{}", "Check the API key"),
        (&token, "\u{1}", "{}", "Check the API key"),
        (&token, &key, "[1]", "<b>Payload</b>"),
    ] {
        let fields = [("token", token), ("key", key), ("payload", payload)];
        let refused = browser.submit(&page, "/test-event", &fields).await;
        assert!(refused.status >= 400, "{}", refused.text);
        refused.has(said).lacks(&format!("name=\"key\" value=\"{key}"));
    }
}
