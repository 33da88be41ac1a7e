//! Users, invitations, API keys and the settings of the tenant.

use super::browser::{Browser, Page};
use crate::harness::api::{Api, PASSWORD, send, unique};
use crate::harness::tenant::User;

/// Returns the secret that a page shows.
fn shown_secret(page: &Page) -> String {
    let (_, rest) = page.text.split_once("id=\"secret\">").expect("a secret");
    rest.split('<').next().expect("a secret").to_owned()
}

#[tokio::test]
async fn a_colleague_is_invited_promoted_deactivated_and_deleted() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/users").await.expect(200);
    page.has(&owner.email).has("(you)").has("<option value=\"Admin\"").lacks("<option value=\"Owner\"");
    let refused = browser.submit(&page, "/invites", &[("role", "Developer"), ("days", "31")]).await;
    refused.expect(400).has("<b>Valid for days</b> must").has("value=\"31\"");
    let created = browser.submit(&page, "/invites", &[("role", "Developer")]).await.expect(200);
    let link = shown_secret(&created);
    let (_, path) = link.split_once("/invitations/").expect("a link");
    let email = format!("{}@example.com", unique("invited"));
    let mut guest = Browser::new(&owner.api);
    let form = guest.get(&format!("/invitations/{path}")).await.expect(200);
    let fields = [("email", email.as_str()), ("password", PASSWORD)];
    guest.submit(&form, &format!("/invitations/{path}"), &fields).await.expect(303);

    let other = shown_secret(&browser.submit(&page, "/invites", &[("role", "Viewer")]).await.expect(200));
    let page = browser.get("/users").await.expect(200);
    page.has(&email).lacks(&other);
    let (_, revoke) = page.text.split_once("action=\"/invites/").expect("an open invitation");
    let revoke = format!("/invites/{}", revoke.split('"').next().expect("a path"));
    browser.submit(&page, &revoke, &[]).await.leads_to("/users?done=revoked");
    browser.get("/users?done=revoked").await.expect(200).has("is revoked").lacks("action=\"/invites/");
    browser.submit(&page, &revoke, &[]).await.expect(404).has("Not found");

    let users = owner.get("/api/v1/users").await.expect(200);
    let users = users.body["items"].as_array().expect("users").clone();
    let id = users.iter().find(|user| user["email"] == email).expect("the colleague")["id"].clone();
    let path = format!("/users/{}", id.as_str().expect("an id"));
    let page = browser.get(&path).await.expect(200);
    browser.submit(&page, &path, &[("role", "King")]).await.expect(400).has("<b>Role</b>");
    browser.submit(&page, &path, &[("role", "Admin")]).await.leads_to(&format!("{path}?done=changed"));
    browser.get(&path).await.expect(200).has("<option value=\"Admin\" selected>");
    let switched = browser.submit(&page, &format!("{path}/switch"), &[]).await;
    browser.get(switched.header("location")).await.expect(200).has("Deactivated").has("Activate</button>");
    browser
        .submit(&page, &format!("{path}/switch"), &[("to", "on")])
        .await
        .leads_to(&format!("{path}?done=activated"));
    browser.submit(&page, &format!("{path}/delete"), &[]).await.leads_to("/users?done=deleted");
    browser.get("/users?done=deleted").await.expect(200).lacks(&email);
    let own = format!("/users/{}/delete", owner.id);
    browser.submit(&page, &own, &[]).await.expect(409).has("Make another user an owner first.");
}

#[tokio::test]
async fn each_role_is_offered_what_it_may_do() {
    let owner = User::owner(&Api::shared().await).await;
    let owner_path = format!("/users/{}", owner.id);
    let viewer = owner.colleague("Viewer").await;
    let viewer_path = format!("/users/{}", viewer.id);
    let mut viewer = Browser::of(&viewer).await;
    viewer.get("/users").await.expect(200).has(&owner.email).lacks("/invites").lacks("/signing");
    viewer.get(&viewer_path).await.expect(200).lacks("name=\"role\"").lacks("/delete");
    viewer.get("/api-keys").await.expect(200).lacks("New API key");
    viewer.get("/tenant").await.expect(200).has("without limit").lacks("Save").lacks("Place a hold");
    let page = viewer.get("/users").await.expect(200);
    for path in
        ["/invites", "/api-keys", "/tenant", "/tenant/retention", "/tenant/legal-hold", "/signing/secret"]
    {
        let fields = [("name", "a"), ("reason", "a"), ("role", "Viewer"), ("attempts", "3"), ("pause", "9")];
        let refused = viewer.submit(&page, path, &fields).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
    }
    let mut admin = Browser::of(&owner.colleague("Admin").await).await;
    admin.get("/users").await.expect(200).has("Create invitation").lacks("<option value=\"Admin\"");
    admin.get(&viewer_path).await.expect(200).has("name=\"role\"").has("/delete").lacks("value=\"Owner\"");
    let of_owner = admin.get(&owner_path).await.expect(200);
    of_owner.lacks("name=\"role\"").lacks("/delete").lacks("/switch");
    admin.submit(&of_owner, &owner_path, &[("role", "Viewer")]).await.expect(403).has("may not");
    admin.get("/tenant").await.expect(200).has("Save retention").lacks("Place a hold");
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_revoked() {
    let owner = User::owner(&Api::shared().await).await;
    let (_, token) = owner.destination().await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/api-keys").await.expect(200);
    page.has("No API keys yet");
    browser.submit(&page, "/api-keys", &[("name", "")]).await.expect(400).has("<b>Name</b>");
    let hostile = "<script>alert(1)</script>\u{202e}";
    browser.submit(&page, "/api-keys", &[("name", hostile)]).await.lacks("<script>alert");
    let created = browser.submit(&page, "/api-keys", &[("name", "<i>billing")]).await.expect(200);
    let key = shown_secret(&created);
    send(owner.ingest(&key, &token, "{}")).await.expect(202);
    let page = browser.get("/api-keys").await.expect(200);
    page.has("&lt;i&gt;billing").lacks("<i>billing").lacks(&key);
    let (_, revoke) = page.text.split_once("action=\"/api-keys/").expect("a key in force");
    let revoke = format!("/api-keys/{}", revoke.split('"').next().expect("a path"));
    browser.submit(&page, &revoke, &[]).await.leads_to("/api-keys?done=revoked");
    browser.get("/api-keys?done=revoked").await.expect(200).has("Revoked.").has("revoked <time");
    send(owner.ingest(&key, &token, "{}")).await.expect(401);
}

#[tokio::test]
async fn settings_retention_and_hold_of_the_tenant_are_changed() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/tenant").await.expect(200);
    let wrong = [("name", ""), ("attempts", "0"), ("pause", "long")];
    let refused = browser.submit(&page, "/tenant", &wrong).await.expect(400);
    refused.has("<b>Name</b>").has("<b>Attempts at most</b>").has("<b>Pause in seconds</b>");
    let name = unique("Lighthouse <b>");
    let right = [("name", name.as_str()), ("attempts", "4"), ("pause", "90")];
    browser.submit(&page, "/tenant", &right).await.leads_to("/tenant?done=changed");
    browser.get("/tenant?done=changed").await.expect(200).has("Saved.").has("value=\"4\"").lacks("<b>\"");
    let wrong = [("payload_days", "0"), ("event_days", "x")];
    let refused = browser.submit(&page, "/tenant/retention", &wrong).await.expect(400);
    refused.has("<b>Days that payloads are kept</b>").has("<b>Days that events are listed</b>");
    for (given, shown) in [("30", "30 days"), ("1", "1 day"), ("", "without limit")] {
        let fields = [("payload_days", given), ("event_days", "")];
        browser.submit(&page, "/tenant/retention", &fields).await.leads_to("/tenant?done=retained");
        browser.get("/tenant").await.expect(200).has(&format!("Payloads are kept {shown},"));
    }
    let hold = "/tenant/legal-hold";
    browser.submit(&page, hold, &[("reason", "")]).await.expect(400).has("<b>Reason</b>");
    browser.submit(&page, hold, &[("reason", "<b>case 7")]).await.leads_to("/tenant?done=held");
    let held = browser.get("/tenant").await.expect(200);
    held.has("Nothing of this tenant is erased").has("&lt;b&gt;case 7").lacks("<b>case").has("Lift the hold");
    browser.submit(&page, hold, &[("reason", "again")]).await.expect(409).has("There is a legal hold");
    let lift = format!("{hold}/lift");
    browser.submit(&page, &lift, &[("reason", "closed")]).await.leads_to("/tenant?done=lifted");
    browser.get("/tenant").await.expect(200).has("Place a hold");
}
