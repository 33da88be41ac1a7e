//! The audit trail, its export, and the evidence.

use evidence::note::SignerKey;
use hooksentry::audit_trail::catalogue::FACT_TYPES;
use hooksentry_dashboard::words;

use super::browser::Browser;
use crate::harness::api::{Api, send, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;
use crate::harness::until;

#[tokio::test]
async fn the_trail_says_who_changed_what_and_is_filtered_by_its_url() {
    let owner = User::owner(&Api::shared().await).await;
    let admin = owner.colleague("Admin").await;
    let path = format!("/api/v1/users/{}", owner.colleague("Viewer").await.id);
    admin.patch(&path, &serde_json::json!({ "role": "Developer" })).await.expect(200);
    let name = format!("<b>{}\u{202e}", unique("tenant"));
    let tenant = format!("/api/v1/tenants/{}", owner.tenant_id);
    owner.patch(&tenant, &serde_json::json!({ "name": name.replace('\u{202e}', "") })).await.expect(200);
    let mut browser = Browser::of(&admin).await;
    let user = path.rsplit('/').next().expect("an id");
    let filtered = format!("/audit?type=RoleChanged&subject=User/{user}");
    until("the change to be in the trail", async || {
        let page = browser.get(&filtered).await;
        page.text.contains("Role: Viewer → Developer").then_some(())
    })
    .await;
    let page = browser.get(&filtered).await.expect(200);
    page.has("The role of a user was changed.").has(&admin.email).has(&format!("href=\"/users/{user}\""));
    page.lacks("The tenant was renamed.").has("From where");
    let page = browser.get(&format!("/audit?actor=user:{}", owner.id)).await.expect(200);
    page.has("The tenant was renamed.").has("&lt;b&gt;tenant").lacks("<b>tenant").lacks("RoleChanged</");
    browser.get("/audit?type=RoleChanged&to=2020-01-01").await.expect(200).has("No fact matches");
    for (query, said) in [
        ("subject=King/7", "<b>Subject</b> must be a kind and an id"),
        ("from=then", "<b>From</b>"),
        ("type=Nothing", "<b>What</b>"),
        ("actor=nothing", "<b>Who</b>"),
        ("after=nothing", "<code>After</code>"),
    ] {
        browser.get(&format!("/audit?{query}")).await.expect(400).has(said).has("Nothing to show");
    }
}

#[tokio::test]
async fn the_trail_is_paged_and_exported() {
    let owner = User::owner(&Api::shared().await).await;
    for _ in 0..51 {
        owner.post("/api/v1/apikeys", &serde_json::json!({ "name": unique("key") })).await.expect(201);
    }
    let mut browser = Browser::of(&owner).await;
    let first = until("two pages of keys", async || {
        let page = browser.get("/audit?type=ApiKeyIssued").await;
        page.text.contains("rel=\"next\"").then_some(page)
    })
    .await;
    let (_, older) = first.text.split_once("rel=\"next\" href=\"").expect("a next page");
    let older = older.split('"').next().expect("a link").replace("&#38;", "&");
    let second = browser.get(&older).await.expect(200);
    assert_eq!(second.text.matches("An API key was issued.").count(), 1);
    let lines = browser.get("/audit/export?type=ApiKeyIssued&format=ndjson").await.expect(200);
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert!(lines.header("content-disposition").starts_with("attachment"));
    assert_eq!(lines.text.lines().count(), 52, "a line each, and the end");
    let table = browser.get("/audit/export?type=ApiKeyIssued&format=csv").await.expect(200);
    assert!(table.text.starts_with("cursor,time,"), "{}", table.text);
    browser.get("/audit/export?type=Nothing").await.expect(400).has("is not valid");
}

#[tokio::test]
async fn only_those_who_may_read_the_trail_are_offered_it() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner.colleague("Developer").await).await;
    browser.get("/events").await.expect(200).lacks("href=\"/audit\"");
    for path in ["/audit", "/audit/export?format=csv"] {
        browser.get(path).await.expect(403).has("Your role does not allow this");
    }
    browser.get("/audit/log").await.expect(200);
}

#[tokio::test]
async fn the_evidence_of_an_event_can_be_downloaded_once_it_is_sealed() {
    let database = TestDatabase::create().await;
    let signer = SignerKey::from_seed("hooks.example.com".parse().expect("a name"), &[7; 32]);
    let launch = Launch::serve("api,projector,sealer", &database.url())
        .with("HOOKSENTRY_EVIDENCE_KEY", &signer.to_secret_text())
        .with("HOOKSENTRY_SEAL_INTERVAL", "200ms");
    let process = launch.ready().await;
    let owner = User::owner(&Api::at(process.base())).await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let event = send(owner.ingest(&key, &token, "{}")).await.expect(202).text_of("eventId");
    let mut browser = Browser::of(&owner).await;
    let path = format!("/events/{event}");
    until("a checkpoint that covers the event", async || {
        browser.get(&path).await.expect(200).text.contains("Proved</span>").then_some(())
    })
    .await;
    let proof = browser.get(&format!("{path}/proof")).await.expect(200);
    assert_eq!(proof.header("content-disposition"), format!("attachment; filename=\"proof-{event}.json\""));
    let body: serde_json::Value = serde_json::from_str(&proof.text).expect("JSON");
    assert!(body["items"][0]["proof"].as_str().expect("a proof").contains("c2sp.org/tlog-proof"), "{body}");
    let log = until("a checkpoint of the installation", async || {
        let page = browser.get("/audit/log").await;
        page.text.contains("no witness is set up").then_some(page)
    })
    .await;
    log.has("Public key").has("openssl pkeyutl -verify");
    let note = browser.get("/audit/log/checkpoint").await.expect(200);
    let name = note.text.lines().next().expect("a name");
    let key = signer.verifier().with_name(name.parse().expect("a name"));
    log.has(&format!("<dd class=\"mono\">{key}</dd>"));
}

#[test]
fn every_type_of_fact_can_be_searched_for() {
    let types: Vec<_> = FACT_TYPES.iter().map(|fact| fact.name).collect();
    assert_eq!(words::AUDIT_TYPES, types);
    assert_eq!(words::spoken("WebhookSecretRegenerated"), "Webhook secret regenerated");
}
