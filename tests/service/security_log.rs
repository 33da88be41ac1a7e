//! Refusals that may belong to an attack are counted by kind.

use serde_json::json;

use crate::harness::api::{Api, PASSWORD, login, send};
use crate::harness::authenticator::Authenticator;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

#[tokio::test]
async fn refusals_are_counted_by_kind() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_LOGIN_FAILURES", "2");
    let process = process.ready().await;
    let api = Api::at(process.base());
    let owner = User::owner(&api).await;
    let viewer = owner.colleague("Viewer").await;
    let (_, token) = owner.destination().await;

    viewer.post("/api/v1/apikeys", &json!({ "name": "mine" })).await.expect(403);
    send(owner.ingest("hks_unknown", &token, "{}")).await.expect(401);
    send(api.request("GET", "/api/v1/users").bearer_auth("forged")).await.expect(401);
    let refresh = json!({ "refreshToken": viewer.refresh_token });
    send(api.request("POST", "/api/v1/auth/refresh").json(&refresh)).await.expect(200);
    send(api.request("POST", "/api/v1/auth/refresh").json(&refresh)).await.expect(401);
    let body = json!({ "currentPassword": PASSWORD });
    let begun = owner.post("/api/v1/second-factor", &body).await.expect(200);
    let mut app = Authenticator::new(&begun.text_of("secret"));
    let body = json!({ "totpCode": app.code().await });
    owner.post("/api/v1/second-factor/confirm", &body).await.expect(200);
    login(&api, &owner.email, PASSWORD).await.expect(401);
    let wrong_code = app.wrong_codes().next();
    let guess = json!({ "email": owner.email, "password": PASSWORD, "totpCode": wrong_code });
    send(api.request("POST", "/api/v1/auth/login").json(&guess)).await.expect(401);
    login(&api, &owner.email, "a guess").await.expect(401);
    login(&api, &owner.email, "a guess").await.expect(429);

    let metrics = send(api.request("GET", "/metrics")).await.expect(200).text;
    for (kind, count) in [
        ("role-forbids", 1),
        ("api-key-refused", 1),
        ("unauthenticated", 1),
        ("refresh-token-refused", 1),
        ("refresh-token-reused", 1),
        ("second-factor-required", 1),
        ("second-factor-refused", 1),
        ("wrong-credentials", 2),
        ("too-many-requests", 1),
    ] {
        let line = format!("hooksentry_security_events_total{{kind=\"{kind}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    process.stop().await;
    database.discard().await;
}
