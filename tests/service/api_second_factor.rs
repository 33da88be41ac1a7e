//! Second factors: enrolment, logins with them, and their end.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, PASSWORD, login, send};
use crate::harness::authenticator::Authenticator;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, run};
use crate::harness::tenant::User;
use crate::harness::until;

const BEGIN: &str = "/api/v1/second-factor";
const CONFIRM: &str = "/api/v1/second-factor/confirm";
const RECOVERY_CODES: &str = "/api/v1/second-factor/recovery-codes";
const DISABLE: &str = "/api/v1/second-factor/disable";

/// User with a second factor, whose sessions have ended.
struct Enrolled {
    user: User,
    app: Authenticator,
    recovery_codes: Vec<String>,
}

impl Enrolled {
    async fn new(user: User) -> Self {
        let mut app = begin(&user).await;
        let confirmed = user.post(CONFIRM, &json!({ "totpCode": app.code().await })).await.expect(200);
        Self { user, app, recovery_codes: recovery_codes_of(&confirmed) }
    }

    async fn owner() -> Self {
        Self::new(User::owner(&Api::shared().await).await).await
    }

    /// Tries to log in with the password and what is given besides.
    async fn login(&self, given: Value) -> Answer {
        login_with(&self.user.api, &self.user.email, PASSWORD, given).await
    }

    async fn with_recovery_code(&self, number: usize) -> Answer {
        self.login(json!({ "recoveryCode": self.recovery_codes[number] })).await
    }

    /// Logs in with a recovery code.
    async fn session(&self, number: usize) -> User {
        let token = self.with_recovery_code(number).await.expect(200).text_of("accessToken");
        User { token, ..self.user.clone() }
    }
}

async fn begin(user: &User) -> Authenticator {
    let begun = user.post(BEGIN, &json!({ "currentPassword": PASSWORD })).await.expect(200);
    Authenticator::new(&begun.text_of("secret"))
}

fn recovery_codes_of(answer: &Answer) -> Vec<String> {
    let codes = answer.body["recoveryCodes"].as_array().expect("codes");
    codes.iter().map(|code| code.as_str().expect("a text").to_owned()).collect()
}

async fn login_with(api: &Api, email: &str, password: &str, given: Value) -> Answer {
    let mut body = json!({ "email": email, "password": password });
    body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    send(api.request("POST", "/api/v1/auth/login").json(&body)).await
}

async fn is_enabled(seen_by: &User, user: &User) -> bool {
    let path = format!("/api/v1/users/{}", user.id);
    seen_by.get(&path).await.expect(200).body["secondFactorEnabled"].as_bool().expect("a truth value")
}

#[tokio::test]
async fn a_second_factor_is_in_force_when_a_code_has_confirmed_it() {
    let owner = User::owner(&Api::shared().await).await;
    let colleague = owner.colleague("Viewer").await;
    assert_eq!(owner.post(BEGIN, &json!({})).await.expect(400).wrong(), ["currentPassword"]);
    let wrong = json!({ "currentPassword": "a guess" });
    assert_eq!(owner.post(BEGIN, &wrong).await.expect(400).wrong(), ["currentPassword"]);
    let nothing_begun = owner.post(CONFIRM, &json!({ "totpCode": "123456" })).await.expect(409);
    assert_eq!(nothing_begun.problem(), "second-factor-not-enabled");

    let former = begin(&owner).await.code().await;
    let begun = owner.post(BEGIN, &json!({ "currentPassword": PASSWORD })).await.expect(200);
    let secret = begun.text_of("secret");
    let uri = begun.text_of("uri");
    assert!(uri.starts_with("otpauth://totp/HookSentry:") && uri.contains(&format!("secret={secret}&")));
    login(&owner.api, &owner.email, PASSWORD).await.expect(200);
    assert!(!is_enabled(&colleague, &owner).await);

    let mut app = Authenticator::new(&secret);
    for wrong in [former, app.wrong_codes().next().unwrap()] {
        let refused = owner.post(CONFIRM, &json!({ "totpCode": wrong })).await.expect(400);
        assert_eq!(refused.wrong(), ["totpCode"]);
    }
    let code = json!({ "totpCode": app.code().await });
    let confirmed = owner.post(CONFIRM, &code).await.expect(200);
    assert_eq!(recovery_codes_of(&confirmed).len(), 10);
    assert!(is_enabled(&colleague, &owner).await);
    // Sessions that were opened with the password alone have ended.
    owner.get("/api/v1/users").await.expect(401);
    let required = login(&owner.api, &owner.email, PASSWORD).await.expect(401);
    assert_eq!(required.problem(), "second-factor-required");
    assert!(required.body.get("accessToken").is_none());
}

#[tokio::test]
async fn a_code_of_the_app_is_accepted_once() {
    let mut enrolled = Enrolled::owner().await;
    // The code that confirmed the enrolment was used.
    enrolled.login(json!({ "totpCode": enrolled.app.last_code() })).await.expect(401);
    let code = json!({ "totpCode": enrolled.app.code().await });
    let token = enrolled.login(code.clone()).await.expect(200).text_of("accessToken");
    User { token, ..enrolled.user.clone() }.get("/api/v1/users").await.expect(200);
    assert_eq!(enrolled.login(code).await.expect(401).problem(), "wrong-credentials");
}

#[tokio::test]
async fn of_logins_with_the_same_code_at_once_one_succeeds() {
    let mut enrolled = Enrolled::owner().await;
    let code = json!({ "totpCode": enrolled.app.code().await });
    let recovery_code = json!({ "recoveryCode": enrolled.recovery_codes[0] });
    for given in [code, recovery_code] {
        let answers = join_all((0..6).map(|_| enrolled.login(given.clone()))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{given}");
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 401)), "{answers:?}");
        enrolled.login(given).await.expect(401);
        // A success clears the failures.
        enrolled.with_recovery_code(1).await;
    }
}

#[tokio::test]
async fn a_recovery_code_is_accepted_once_in_any_case_and_without_hyphens() {
    let enrolled = Enrolled::owner().await;
    enrolled.with_recovery_code(0).await.expect(200);
    assert_eq!(enrolled.with_recovery_code(0).await.expect(401).problem(), "wrong-credentials");
    let typed = enrolled.recovery_codes[1].replace('-', "").to_lowercase();
    enrolled.login(json!({ "recoveryCode": typed })).await.expect(200);
    enrolled.with_recovery_code(1).await.expect(401);
    let others = Enrolled::owner().await;
    enrolled.login(json!({ "recoveryCode": others.recovery_codes[0] })).await.expect(401);
    others.with_recovery_code(0).await.expect(200);
}

#[tokio::test]
async fn a_code_does_not_tell_whether_the_password_was_right() {
    let mut enrolled = Enrolled::owner().await;
    let (api, email) = (enrolled.user.api.clone(), enrolled.user.email.clone());
    let code = enrolled.app.code().await;
    let wrong_code = json!({ "totpCode": enrolled.app.wrong_codes().next().unwrap() });
    let unknown = login_with(&api, "unknown@example.com", "a guess", wrong_code.clone()).await.expect(401);
    let recovery_code = json!({ "recoveryCode": enrolled.recovery_codes[0] });
    for (password, given) in [
        ("a guess", json!({})),
        ("a guess", wrong_code.clone()),
        ("a guess", json!({ "totpCode": code })),
        ("a guess", recovery_code.clone()),
        (PASSWORD, wrong_code),
    ] {
        let refused = login_with(&api, &email, password, given.clone()).await.expect(401);
        assert_eq!(refused.body, unknown.body, "{password} {given}");
    }
    // Neither code was used up by a login with a wrong password.
    enrolled.login(json!({ "totpCode": code })).await.expect(200);
    enrolled.login(recovery_code).await.expect(200);
}

#[tokio::test]
async fn a_login_takes_one_well_formed_code_and_ignores_it_without_a_second_factor() {
    let owner = User::owner(&Api::shared().await).await;
    let recovery_code = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX";
    for (given, wrong) in [
        (json!({ "totpCode": "12345" }), "totpCode"),
        (json!({ "totpCode": "12345a" }), "totpCode"),
        (json!({ "recoveryCode": "ABCD" }), "recoveryCode"),
        (json!({ "totpCode": "123456", "recoveryCode": recovery_code }), "recoveryCode"),
    ] {
        let refused = login_with(&owner.api, &owner.email, "a guess", given).await.expect(400);
        assert_eq!(refused.wrong(), [wrong]);
    }
    for given in [json!({ "totpCode": "123456" }), json!({ "recoveryCode": recovery_code })] {
        login_with(&owner.api, &owner.email, PASSWORD, given).await.expect(200);
    }
}

#[tokio::test]
async fn wrong_codes_count_as_failed_logins_until_a_whole_login_succeeds() {
    let enrolled = Enrolled::owner().await;
    let mut wrong = enrolled.app.wrong_codes();
    for _ in 0..9 {
        enrolled.login(json!({ "totpCode": wrong.next() })).await.expect(401);
    }
    enrolled.with_recovery_code(0).await.expect(200);
    for _ in 0..9 {
        enrolled.login(json!({ "totpCode": wrong.next() })).await.expect(401);
    }
    // The password alone clears nothing.
    assert_eq!(enrolled.login(json!({})).await.expect(401).problem(), "second-factor-required");
    enrolled.login(json!({ "totpCode": wrong.next() })).await.expect(401);
    enrolled.with_recovery_code(1).await.expect(429);
    let elsewhere = enrolled.user.api.with_new_address();
    login_with(&elsewhere, &enrolled.user.email, PASSWORD, json!({})).await.expect(429);
}

#[tokio::test]
async fn many_guesses_at_a_code_at_once_get_no_further_than_the_limit() {
    let enrolled = Enrolled::owner().await;
    let session = enrolled.session(0).await;
    let codes = enrolled.app.wrong_codes().take(40);
    let guess = |code| json!({ "currentPassword": PASSWORD, "totpCode": code });
    let bodies: Vec<Value> = codes.map(guess).collect();
    let answers = join_all(bodies.iter().map(|body| session.post(DISABLE, body))).await;
    assert!(answers.iter().filter(|answer| answer.status == 400).count() <= 10);
    assert!(answers.iter().all(|answer| matches!(answer.status, 400 | 429)), "{answers:?}");
    enrolled.with_recovery_code(1).await.expect(429);
}

#[tokio::test]
async fn password_and_code_replace_the_recovery_codes_and_disable_the_second_factor() {
    let mut enrolled = Enrolled::owner().await;
    let session = enrolled.session(0).await;
    let recovery_code = enrolled.recovery_codes[1].clone();
    for path in [RECOVERY_CODES, DISABLE] {
        for (body, wrong) in [
            (json!({ "recoveryCode": recovery_code }), "currentPassword"),
            (json!({ "currentPassword": "a guess", "recoveryCode": recovery_code }), "currentPassword"),
            (json!({ "currentPassword": PASSWORD }), "totpCode"),
            (json!({ "currentPassword": PASSWORD, "totpCode": enrolled.app.last_code() }), "totpCode"),
            (
                json!({ "currentPassword": PASSWORD, "recoveryCode": enrolled.recovery_codes[0] }),
                "recoveryCode",
            ),
        ] {
            assert_eq!(session.post(path, &body).await.expect(400).wrong(), [wrong], "{path} {body}");
        }
    }
    enrolled.login(json!({ "recoveryCode": recovery_code })).await.expect(200);

    let code = json!({ "currentPassword": PASSWORD, "totpCode": enrolled.app.code().await });
    let replaced = recovery_codes_of(&session.post(RECOVERY_CODES, &code).await.expect(200));
    enrolled.with_recovery_code(4).await.expect(401);
    enrolled.login(json!({ "recoveryCode": replaced[0] })).await.expect(200);

    assert_eq!(
        session.post(BEGIN, &json!({ "currentPassword": PASSWORD })).await.expect(409).problem(),
        "second-factor-enabled"
    );
    let both = json!({ "currentPassword": PASSWORD, "recoveryCode": replaced[1] });
    session.post(DISABLE, &both).await.expect(204);
    login(&session.api, &session.email, PASSWORD).await.expect(200);
    assert!(!is_enabled(&session, &session).await);
    let both = json!({ "currentPassword": PASSWORD, "recoveryCode": replaced[2] });
    assert_eq!(session.post(DISABLE, &both).await.expect(409).problem(), "second-factor-not-enabled");
    // A new one has another secret.
    let again = Enrolled::new(session).await;
    again.login(json!({ "recoveryCode": replaced[3] })).await.expect(401);
    again.with_recovery_code(0).await.expect(200);
}

#[tokio::test]
async fn an_owner_removes_the_second_factor_of_another_user() {
    let owner = User::owner(&Api::shared().await).await;
    let (admin, viewer) = (owner.colleague("Admin").await, owner.colleague("Viewer").await);
    let other_tenant = User::owner(&owner.api).await;
    let enrolled = Enrolled::new(owner.colleague("Admin").await).await;
    let path = format!("/api/v1/users/{}/second-factor", enrolled.user.id);
    for by in [&admin, &viewer, &enrolled.session(0).await] {
        assert_eq!(by.delete(&path).await.expect(403).problem(), "role-forbids");
    }
    assert_eq!(other_tenant.delete(&path).await.expect(403).problem(), "other-tenant");
    let own = format!("/api/v1/users/{}/second-factor", owner.id);
    assert_eq!(owner.delete(&own).await.expect(403).problem(), "role-forbids");
    login(&owner.api, &enrolled.user.email, PASSWORD).await.expect(401);

    owner.delete(&path).await.expect(204);
    login(&owner.api, &enrolled.user.email, PASSWORD).await.expect(200);
    assert_eq!(owner.delete(&path).await.expect(409).problem(), "second-factor-not-enabled");
    let log = owner.api.log().await;
    let actor: String = sqlx::query_scalar(
        "SELECT metadata ->> 'actor' FROM events WHERE event_type = 'SecondFactorDisabled' AND aggregate_id = $1",
    )
    .bind(&enrolled.user.id)
    .fetch_one(log.pool())
    .await
    .expect("one fact");
    assert_eq!(actor, format!("user:{}", owner.id));
}

#[tokio::test]
async fn the_operator_removes_the_second_factor_of_the_last_owner() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector", &database.url()).ready().await;
    let enrolled = Enrolled::new(User::owner(&Api::at(process.base())).await).await;
    let email = enrolled.user.email.as_str();
    let unknown = run(&["remove-second-factor", "unknown@example.com"], &database.url()).await;
    unknown.failed_with(1, &["no user has the email address unknown@example.com"]);
    let removed = run(&["remove-second-factor", email], &database.url()).await;
    assert_eq!(removed.code, Some(0), "{}", removed.errors);
    until("a login with the password alone", async || {
        (login(&enrolled.user.api, email, PASSWORD).await.status == 200).then_some(())
    })
    .await;
    run(&["remove-second-factor", email], &database.url()).await.failed_with(1, &["has no second factor"]);
    process.stop().await;
    database.discard().await;
}

#[tokio::test]
async fn a_user_who_is_demoted_keeps_the_second_factor_and_may_disable_it() {
    let owner = User::owner(&Api::shared().await).await;
    let enrolled = Enrolled::new(owner.colleague("Admin").await).await;
    let path = format!("/api/v1/users/{}", enrolled.user.id);
    owner.patch(&path, &json!({ "role": "Viewer" })).await.expect(200);
    assert_eq!(enrolled.login(json!({})).await.expect(401).problem(), "second-factor-required");
    let session = enrolled.session(0).await;
    assert!(is_enabled(&owner, &session).await);
    let both = json!({ "currentPassword": PASSWORD, "recoveryCode": enrolled.recovery_codes[1] });
    session.post(DISABLE, &both).await.expect(204);
    let begun = session.post(BEGIN, &json!({ "currentPassword": PASSWORD })).await.expect(403);
    assert_eq!(begun.problem(), "role-forbids");
}

#[tokio::test]
async fn no_secret_is_in_the_log_in_the_clear() {
    let owner = User::owner(&Api::shared().await).await;
    let secret =
        owner.post(BEGIN, &json!({ "currentPassword": PASSWORD })).await.expect(200).text_of("secret");
    let mut app = Authenticator::new(&secret);
    let code = app.code().await;
    let confirmed = owner.post(CONFIRM, &json!({ "totpCode": code })).await.expect(200);
    let recovery_codes = recovery_codes_of(&confirmed);
    login_with(&owner.api, &owner.email, PASSWORD, json!({ "recoveryCode": recovery_codes[0] }))
        .await
        .expect(200);
    let log = owner.api.log().await;
    let facts: Vec<String> = sqlx::query_scalar(
        "SELECT payload::text || metadata::text FROM events WHERE aggregate_id = $1 ORDER BY sequence",
    )
    .bind(&owner.id)
    .fetch_all(log.pool())
    .await
    .expect("facts");
    assert!(facts.iter().any(|fact| fact.contains("RecoveryCodeUsed")), "{facts:?}");
    let plain = recovery_codes[0].replace('-', "");
    for clear in [&secret, &hex::encode(app.secret()), &recovery_codes[0], &plain] {
        assert!(!facts.iter().any(|fact| fact.contains(clear.as_str())), "{clear} is in {facts:?}");
    }
}
