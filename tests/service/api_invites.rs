//! Invites and API keys: what lets others in.

use aggregates::ids::{InviteId, TenantId, UserId};
use aggregates::invite::{Invite, InviteCommand};
use aggregates::role::Role;
use aggregates::sealed::Sealed;
use chrono::TimeDelta;
use futures::future::join_all;
use hooksentry::event_store::Metadata;
use hooksentry::secrets::token;
use hooksentry::{clock, identifiers};
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, PASSWORD, login, send, unique};
use crate::harness::tenant::User;
use crate::harness::until;

async fn register(api: &Api, token: &str, body: &Value) -> Answer {
    send(api.request("POST", &format!("/api/v1/invites/{token}/register")).json(body)).await
}

fn new_user() -> Value {
    json!({ "email": format!("{}@example.com", unique("invited")), "password": PASSWORD })
}

#[tokio::test]
async fn an_invite_makes_one_user() {
    let owner = User::owner(&Api::shared().await).await;
    let invite =
        owner.post("/api/v1/invites", &json!({ "role": "viewer", "validityDays": "3" })).await.expect(201);
    assert_eq!((&invite.body["targetRole"], &invite.body["status"]), (&json!("Viewer"), &json!("Pending")));
    assert_eq!((&invite.body["usedAt"], &invite.body["tenantId"]), (&Value::Null, &json!(owner.tenant_id)));
    let days = |from: &str, to: &str| {
        let time = |field| chrono::DateTime::parse_from_rfc3339(&invite.text_of(field)).unwrap();
        (time(to) - time(from)).num_days()
    };
    assert_eq!(days("createdAt", "expiresAt"), 3);
    let token = invite.text_of("token");
    assert!(token.starts_with("inv_"));
    let list = owner.get("/api/v1/invites?Status=0").await.expect(200);
    assert_eq!(list.body["items"][0], invite.body);

    let person = new_user();
    let user = register(&owner.api, &token, &person).await.expect(201);
    assert_eq!((&user.body["role"], &user.body["tenantId"]), (&json!("Viewer"), &json!(owner.tenant_id)));
    assert_eq!(user.header("location"), format!("/api/v1/users/{}", user.text_of("id")));
    login(&owner.api, person["email"].as_str().unwrap(), PASSWORD).await.expect(200);
    assert_eq!(register(&owner.api, &token, &new_user()).await.expect(409).problem(), "invite-used");
    let used = owner.get("/api/v1/invites?Status=used").await.expect(200);
    assert_eq!((&used.body["total"], &used.body["items"][0]["status"]), (&json!(1), &json!("Used")));
    assert!(used.body["items"][0]["usedAt"].is_string());
    assert_eq!(used.body["items"][0]["token"], "", "it is worth nothing any more");
    assert_eq!(owner.get("/api/v1/invites?Status=Pending").await.expect(200).body["total"], 0);
    for query in ["Status=Expired", "Status=2", "CpOrd=tokenHash"] {
        owner.get(&format!("/api/v1/invites?{query}")).await.expect(400);
    }
}

#[tokio::test]
async fn an_invite_has_its_defaults_and_its_bounds() {
    let owner = User::owner(&Api::shared().await).await;
    let invite = owner.post("/api/v1/invites", &json!({})).await.expect(201);
    assert_eq!(invite.body["targetRole"], "Developer");
    let refused = owner.post("/api/v1/invites", &json!({ "role": "Owner" })).await.expect(400);
    assert_eq!(refused.wrong(), ["role"]);
    let admin = owner.colleague("Admin").await;
    assert_eq!(
        admin.post("/api/v1/invites", &json!({ "role": 1 })).await.expect(403).problem(),
        "role-forbids"
    );
    admin.post("/api/v1/invites", &json!({ "role": 10 })).await.expect(400);
    admin.post("/api/v1/invites", &json!({ "role": "Developer" })).await.expect(201);
    owner.post("/api/v1/invites", &json!({ "role": "Admin" })).await.expect(201);
}

#[tokio::test]
async fn a_registration_is_checked_in_the_documented_order() {
    let owner = User::owner(&Api::shared().await).await;
    let api = owner.api.with_new_address();
    assert_eq!(register(&api, "inv_unknown", &json!({})).await.expect(404).problem(), "not-found");
    register(&api, &"x".repeat(513), &new_user()).await.expect(400);
    register(&api, "a%0Ab", &new_user()).await.expect(400);
    let token = owner.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    let answer = register(&api, &token, &json!({ "email": "no" })).await.expect(400);
    assert_eq!(answer.wrong(), ["email", "password"]);
    let taken = json!({ "email": owner.email, "password": PASSWORD });
    assert_eq!(register(&api, &token, &taken).await.expect(409).problem(), "email-taken");
    register(&api, &token, &new_user()).await.expect(201);
    for _ in 0..4 {
        register(&api, "inv_unknown", &json!({})).await.expect(404);
    }
    register(&api, "inv_unknown", &json!({})).await.expect(429);
}

#[tokio::test]
async fn of_many_who_use_an_invite_at_once_one_joins() {
    let owner = User::owner(&Api::shared().await).await;
    let token = owner.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    let answers =
        join_all((0..6).map(async |_| register(&owner.api.with_new_address(), &token, &new_user()).await))
            .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.problem() == "invite-used"));
    assert_eq!(owner.get("/api/v1/users").await.expect(200).body["total"], 2);
}

#[tokio::test]
async fn a_revoked_invite_is_worth_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let developer = owner.colleague("Developer").await;
    let invite = owner.post("/api/v1/invites", &json!({})).await.expect(201);
    let path = format!("/api/v1/invites/{}", invite.text_of("id"));
    developer.delete(&path).await.expect(403);
    owner.delete(&path).await.expect(204);
    register(&owner.api, &invite.text_of("token"), &new_user()).await.expect(404);
    assert_eq!(owner.get("/api/v1/invites").await.expect(200).body["total"], 0);
    owner.delete(&path).await.expect(404);
    let used = owner.post("/api/v1/invites", &json!({})).await.expect(201);
    register(&owner.api, &used.text_of("token"), &new_user()).await.expect(201);
    let path = format!("/api/v1/invites/{}", used.text_of("id"));
    assert_eq!(owner.delete(&path).await.expect(409).problem(), "invite-used");
}

#[tokio::test]
async fn invites_end_with_the_rights_of_their_issuer() {
    let owner = User::owner(&Api::shared().await).await;
    let mut issuers = vec![];
    for change in [json!({ "status": "Inactive" }), json!({ "role": "Developer" }), Value::Null] {
        let admin = owner.colleague("Admin").await;
        let token = admin.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
        issuers.push((format!("/api/v1/users/{}", admin.id), change, token));
    }
    assert_eq!(owner.get("/api/v1/invites").await.expect(200).body["total"], 3);
    for (path, change, token) in &issuers {
        match change {
            Value::Null => owner.delete(path).await.expect(204),
            change => owner.patch(path, change).await.expect(200),
        };
        register(&owner.api, token, &new_user()).await.expect(404);
    }
    assert_eq!(owner.get("/api/v1/invites").await.expect(200).body["total"], 0);
}

#[tokio::test]
async fn invites_do_not_come_back_with_their_issuer() {
    let owner = User::owner(&Api::shared().await).await;
    let admin = owner.colleague("Admin").await;
    let former = admin.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    let path = format!("/api/v1/users/{}", admin.id);
    for status in ["Inactive", "Active"] {
        owner.patch(&path, &json!({ "status": status })).await.expect(200);
    }
    register(&owner.api, &former, &new_user()).await.expect(404);
    assert_eq!(owner.get("/api/v1/invites").await.expect(200).body["total"], 0);
    let admin = User::login(&admin.api, &admin.id, &admin.tenant_id, &admin.email).await;
    let new = admin.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    assert_eq!(owner.get("/api/v1/invites").await.expect(200).body["total"], 1);
    register(&owner.api, &new, &new_user()).await.expect(201);
}

#[tokio::test]
async fn an_expired_invite_is_refused() {
    let owner = User::owner(&Api::shared().await).await;
    // The invite is written as it would have been a week ago, so that the test does not wait for a day.
    let (id, token) = (InviteId(identifiers::new_id()), unique("inv_"));
    let at = clock::now() - TimeDelta::days(7);
    let tenant_id = TenantId(owner.tenant_id.parse().unwrap());
    let issue = InviteCommand::Issue {
        tenant_id,
        target_role: Role::Developer,
        issued_by: UserId(owner.id.parse().unwrap()),
        invited_by: Role::Owner,
        token_hash: token::hash(&token),
        token: Sealed { data_key: identifiers::new_id(), ciphertext: String::new() },
        expires_at: at + TimeDelta::days(1),
        at,
    };
    let log = owner.api.log().await;
    log.execute::<Invite>(id.0, issue, &Metadata::of_role(tenant_id, "tests")).await.unwrap();
    let api = owner.api.clone();
    let refused = until("the invite to be known", async || {
        Some(register(&api.with_new_address(), &token, &new_user()).await)
            .filter(|answer| answer.status != 404)
    })
    .await;
    assert_eq!(refused.expect(409).problem(), "invite-expired");
}

#[tokio::test]
async fn an_api_key_is_issued_listed_and_revoked() {
    let owner = User::owner(&Api::shared().await).await;
    let key = owner.post("/api/v1/apikeys", &json!({ "name": " Production Key " })).await.expect(201);
    assert_eq!(key.body["name"], "Production Key");
    assert!(key.text_of("key").strip_prefix("hks_").is_some_and(|hex| hex.len() == 32));
    assert_eq!(key.body.as_object().unwrap().len(), 4);
    let path = format!("/api/v1/apikeys/{}", key.text_of("id"));
    assert_eq!(key.header("location"), path);
    let list = owner.get("/api/v1/apikeys?IsActive=true").await.expect(200);
    let item = json!({ "id": key.body["id"], "name": "Production Key", "isActive": true,
        "createdAt": key.body["createdAt"], "revokedAt": null });
    assert_eq!(list.body, json!({ "total": 1, "items": [item] }));
    let revoked = owner.delete(&path).await.expect(200);
    assert_eq!((&revoked.body["isActive"], &revoked.body["id"]), (&json!(false), &key.body["id"]));
    assert!(revoked.body["revokedAt"].is_string());
    assert_eq!(owner.get("/api/v1/apikeys?IsActive=False").await.expect(200).body["items"][0], revoked.body);
    assert_eq!(owner.get("/api/v1/apikeys?isactive=true").await.expect(200).body["total"], 0);
    owner.delete(&path).await.expect(404);
    for query in ["IsActive=1", "IsActive=", "CpOrd=keyHash"] {
        owner.get(&format!("/api/v1/apikeys?{query}")).await.expect(400);
    }
}
