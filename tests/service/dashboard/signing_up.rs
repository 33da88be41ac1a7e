//! Registration of a tenant, and invitations.

use serde_json::json;

use super::browser::Browser;
use crate::harness::api::{Api, PASSWORD, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

#[tokio::test]
async fn a_stranger_registers_a_tenant_and_is_signed_in() {
    let mut browser = Browser::new(&Api::shared().await);
    let page = browser.get("/sign-up").await.expect(200);
    let (name, email) = (unique("tenant"), format!("{}@example.com", unique("user")));
    let fields = [("name", name.as_str()), ("email", &email), ("password", "")];
    let refused = browser.submit(&page, "/sign-up", &fields).await.expect(400);
    refused.has("<b>Password</b>").lacks("ownerPassword").has(&name).has(&email);
    let fields = [("name", name.as_str()), ("email", &email), ("password", PASSWORD)];
    browser.submit(&refused, "/sign-up", &fields).await.leads_to("/");
    browser.get("/events").await.expect(200).has("No events yet").has(&email);
    let mut second = Browser::new(&Api::shared().await);
    let page = second.get("/sign-up").await;
    second.submit(&page, "/sign-up", &fields).await.expect(409).has("Choose another name");
}

#[tokio::test]
async fn an_invitation_is_accepted_once() {
    let owner = User::owner(&Api::shared().await).await;
    let invite = owner.post("/api/v1/invites", &json!({ "role": "Viewer" })).await.expect(201);
    let path = format!("/invitations/{}", invite.text_of("token"));
    let email = format!("{}@example.com", unique("user"));
    let fields = [("email", email.as_str()), ("password", PASSWORD)];
    let mut browser = Browser::new(&owner.api);
    let page = browser.get(&path).await.expect(200);
    browser.submit(&page, &path, &fields).await.leads_to("/");
    browser.get("/events").await.expect(200).has("Viewer").has(&email);
    let mut second = Browser::new(&owner.api);
    let page = second.get(&path).await.expect(200);
    let other = [("email", "other@example.com"), ("password", PASSWORD)];
    second.submit(&page, &path, &other).await.expect(409).has("Ask for a new invitation");
}

#[tokio::test]
async fn a_closed_installation_says_so() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api", &database.url()).with("HOOKSENTRY_REGISTRATION", "closed");
    let process = launch.ready().await;
    let mut browser = Browser::new(&Api::at(process.base()));
    browser.get("/sign-up").await.expect(200).has("Registration is closed").lacks("<form");
    browser.get("/sign-in").await.expect(200).lacks("/sign-up");
}
