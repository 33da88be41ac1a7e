//! Who may register a tenant.

use chrono::TimeDelta;
use futures::future::join_all;
use hooksentry::secrets::tenant_invitations::{TenantInvitation, TenantInvitations};
use hooksentry::{clock, identifiers};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::api::{Answer, Api, PASSWORD, send, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{CommandOutput, Launch, finished};

/// Keys of the service and of the command.
const KEYS: &str = "tests:a-key-of-at-least-32-bytes-for-tests";

async fn register(api: &Api, invitation: Option<&str>) -> Answer {
    let name = unique("tenant");
    let mut body: Value =
        json!({ "name": name, "ownerEmail": format!("{name}@example.com"), "ownerPassword": PASSWORD });
    if let Some(invitation) = invitation {
        body["invitation"] = invitation.into();
    }
    send(api.request("POST", "/api/v1/tenants").json(&body)).await
}

async fn invite(arguments: &[&str], keys: &str) -> CommandOutput {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command.arg("invite-tenant").args(arguments).env_clear().env("HOOKSENTRY_JWT_KEY", keys);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finished(command.spawn().expect("the program starts")).await
}

async fn invitation(keys: &str) -> String {
    invite(&["--expires", "1h"], keys).await.succeeded().output.trim().to_owned()
}

#[tokio::test]
async fn an_invitation_registers_one_tenant() {
    let database = TestDatabase::create().await;
    let launch =
        Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_REGISTRATION", "invitation");
    let service = launch.ready().await;
    let api = Api::at(service.base());
    let foreign = invitation("tests:another-key-of-at-least-32-bytes-for-tests").await;
    for refused in [None, Some("tinv_nonsense"), Some(foreign.as_str())] {
        assert_eq!(register(&api, refused).await.expect(403).problem(), "registration-refused");
    }
    let token = invitation(KEYS).await;
    // At the same time: the log decides.
    let answers = join_all((0..4).map(|_| register(&api, Some(&token)))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    assert_eq!(register(&api, Some(&token)).await.expect(409).problem(), "invite-used");
    let expired =
        TenantInvitation { id: identifiers::new_id(), expires_at: clock::now() - TimeDelta::seconds(1) };
    let expired = TenantInvitations::new(&KEYS.parse().expect("keys")).issue(expired);
    let refused = register(&api, Some(expired.expose_secret())).await;
    assert_eq!(refused.expect(409).problem(), "invite-expired");
    register(&api, Some(&invitation(KEYS).await)).await.expect(201);
    assert!(service.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_closed_installation_registers_no_tenant() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_REGISTRATION", "closed");
    let service = launch.ready().await;
    let token = invitation(KEYS).await;
    for refused in [None, Some(token.as_str())] {
        let answer = register(&Api::at(service.base()), refused).await;
        assert_eq!(answer.expect(403).problem(), "registration-refused");
    }
    assert!(service.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn an_invitation_needs_the_keys_of_the_service_and_a_time() {
    invite(&[], "").await.failed_with(2, &["HOOKSENTRY_JWT_KEY"]);
    let endless = invite(&["--expires", "5000d"], KEYS).await;
    assert!(endless.code != Some(0) && endless.errors.contains("must be between"), "{}", endless.errors);
}
