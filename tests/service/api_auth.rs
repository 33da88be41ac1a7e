//! Logging in, staying in, logging out.

use aggregates::user::User as UserAggregate;
use futures::future::join_all;
use hooksentry::secrets::passwords::{PasswordRules, Passwords, Requester};
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, PASSWORD, login, send, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;
use crate::harness::until;

async fn refresh(api: &Api, token: &str) -> Answer {
    send(api.request("POST", "/api/v1/auth/refresh").json(&json!({ "refreshToken": token }))).await
}

async fn logout(user: &User, token: &str) -> Answer {
    user.post("/api/v1/auth/logout", &json!({ "refreshToken": token })).await
}

#[tokio::test]
async fn a_login_gives_two_tokens() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let tokens = login(&api, &owner.email.to_uppercase(), PASSWORD).await.expect(200);
    assert_eq!(tokens.body["expiresIn"], 900);
    let expires = chrono::DateTime::parse_from_rfc3339(&tokens.text_of("expiresAt")).unwrap();
    let days = (expires.to_utc() - hooksentry::clock::now()).num_minutes();
    assert!((7 * 24 * 60 - 5..=7 * 24 * 60).contains(&days), "{expires}");
    assert_eq!(tokens.body.as_object().unwrap().len(), 4);
    let access = tokens.text_of("accessToken");
    send(api.request("GET", "/api/v1/users").bearer_auth(&access)).await.expect(200);
    // The scheme's name is read in any case.
    let request = api.request("GET", "/api/v1/users").header("Authorization", format!("bEARER {access}"));
    send(request).await.expect(200);
}

#[tokio::test]
async fn wrong_credentials_are_refused_alike_whoever_they_name() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let wrong_password = login(&api, &owner.email, "another").await.expect(401);
    let unknown = login(&api, &format!("{}@example.com", unique("unknown")), "another").await.expect(401);
    assert_eq!(wrong_password.body, unknown.body);
    assert_eq!(wrong_password.problem(), "wrong-credentials");
    let user = owner.colleague("Developer").await;
    let path = format!("/api/v1/users/{}", user.id);
    owner.patch(&path, &json!({ "status": "Inactive" })).await.expect(200);
    assert_eq!(login(&api, &user.email, PASSWORD).await.expect(401).body, unknown.body);
    owner.patch(&path, &json!({ "status": "Active" })).await.expect(200);
    login(&api, &user.email, PASSWORD).await.expect(200);
    owner.delete(&path).await.expect(204);
    assert_eq!(login(&api, &user.email, PASSWORD).await.expect(401).body, unknown.body);
}

#[tokio::test]
async fn a_login_renews_a_hash_with_parameters_of_the_past() {
    let api = Api::shared().await;
    let (user, other) = (User::owner(&api).await, User::owner(&api).await);
    let pool = api.log().await.pool().clone();
    let hash = async |user: &User| -> String {
        let query = sqlx::query_scalar("SELECT password_hash FROM user_passwords WHERE user_id = $1");
        query.bind(user.id.parse::<uuid::Uuid>().unwrap()).fetch_one(&pool).await.unwrap()
    };
    let rules = PasswordRules { memory_kib: 128, passes: 2, ..PasswordRules::default() };
    let requester = Requester::Client(std::net::IpAddr::from([192, 0, 2, 1]).into());
    let old = Passwords::new(rules).unwrap().hash(PASSWORD.to_owned().into(), requester).await.unwrap();
    sqlx::query("UPDATE user_passwords SET password_hash = $1 WHERE user_id = ANY($2)")
        .bind(&old)
        .bind([&user.id, &other.id].map(|id| id.parse::<uuid::Uuid>().unwrap()))
        .execute(&pool)
        .await
        .unwrap();
    login(&api, &user.email, "another").await.expect(401);
    assert_eq!(hash(&user).await, old, "a wrong password renews nothing");
    login(&api, &user.email, PASSWORD).await.expect(200);
    let new = hash(&user).await;
    assert!(new.starts_with("$argon2id$v=19$m=64,t=1,"), "{new}");
    assert_eq!(hash(&other).await, old);
    login(&api, &user.email, PASSWORD).await.expect(200);
    assert_eq!(hash(&user).await, new, "once");
}

#[tokio::test]
async fn ten_failures_from_an_address_or_with_an_email_are_enough() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    // From one address, with many emails, known or not.
    for _ in 0..10 {
        login(&api, &format!("{}@example.com", unique("unknown")), "x").await.expect(401);
    }
    let refused = login(&api, &owner.email, PASSWORD).await.expect(429);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=300).contains(&wait));
    // With one email, from many addresses.
    for _ in 0..10 {
        login(&api.with_new_address(), &owner.email, "x").await.expect(401);
    }
    login(&api.with_new_address(), &owner.email, PASSWORD).await.expect(429);
    // An unregistered email is limited as well, so the limit does not reveal which emails exist.
    let unknown = format!("{}@example.com", unique("unknown"));
    for _ in 0..10 {
        login(&api.with_new_address(), &unknown, "x").await.expect(401);
    }
    login(&api.with_new_address(), &unknown, "x").await.expect(429);
    // A request that is not valid says so first, and does not count.
    send(api.request("POST", "/api/v1/auth/login").json(&json!({}))).await.expect(400);
}

#[tokio::test]
async fn a_success_clears_the_failures() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    for _ in 0..3 {
        for _ in 0..9 {
            login(&api, &owner.email, "x").await.expect(401);
        }
        login(&api, &owner.email, PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn a_login_of_one_s_own_does_not_clear_the_guesses_at_others() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    for _ in 0..9 {
        login(&api, &format!("{}@example.com", unique("unknown")), "x").await.expect(401);
    }
    login(&api, &owner.email, PASSWORD).await.expect(200);
    login(&api, &format!("{}@example.com", unique("unknown")), "x").await.expect(401);
    login(&api, &owner.email, PASSWORD).await.expect(429);
}

#[tokio::test]
async fn refused_logins_are_one_fact_within_an_hour() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    for _ in 0..9 {
        login(&api, &owner.email, "x").await.expect(401);
    }
    let log = api.log().await;
    let id = owner.id.parse().unwrap();
    until("the refusal to be recorded", async || {
        (log.load::<UserAggregate>(id).await.expect("a user").version == 2).then_some(())
    })
    .await;
    login(&api, &owner.email, PASSWORD).await.expect(200);
    for _ in 0..9 {
        login(&api, &owner.email, "x").await.expect(401);
    }
    // A change waits for no task of a refused login, but comes after those that have begun.
    owner.patch(&format!("/api/v1/users/{}", owner.id), &json!({ "password": PASSWORD })).await.expect(200);
    assert_eq!(log.load::<UserAggregate>(id).await.expect("a user").version, 3);
}

#[tokio::test]
async fn many_guesses_at_once_get_no_further_than_the_limit() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let guesses = join_all((0..60).map(|_| login(&api, &owner.email, "x"))).await;
    assert!(guesses.iter().filter(|answer| answer.status == 401).count() <= 10);
    login(&api, &owner.email, PASSWORD).await.expect(429);
}

#[tokio::test]
async fn a_refresh_token_is_good_once() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let next = refresh(&api, &owner.refresh_token).await.expect(200);
    assert_eq!(next.body["expiresIn"], 900);
    let again = refresh(&api, &next.text_of("refreshToken")).await.expect(200);
    let access = again.text_of("accessToken");
    send(api.request("GET", "/api/v1/users").bearer_auth(&access)).await.expect(200);
    // A token that was used before may be stolen, so the session ends.
    refresh(&api, &owner.refresh_token).await.expect(401);
    send(api.request("GET", "/api/v1/users").bearer_auth(&access)).await.expect(401);
    refresh(&api, &again.text_of("refreshToken")).await.expect(401);
}

#[tokio::test]
async fn of_two_who_refresh_at_once_one_gets_tokens() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let answers = join_all((0..8).map(|_| refresh(&api, &owner.refresh_token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 401)));
}

#[tokio::test]
async fn what_was_never_a_refresh_token_closes_nothing() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    // Every access token carries the session id; the id alone does not log the session out.
    let session_id = &owner.refresh_token[owner.refresh_token.len() - 32..];
    let made_up = format!("rfr_{}{session_id}", "0".repeat(64));
    for token in [made_up.as_str(), "rfr_x", "nonsense", &owner.token[..500]] {
        refresh(&api, token).await.expect(401);
    }
    owner.get("/api/v1/users").await.expect(200);
    refresh(&api, &owner.refresh_token).await.expect(200);
}

#[tokio::test]
async fn a_logout_ends_the_session_at_once() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let other = User::login(&api, &owner.id, &owner.tenant_id, &owner.email).await;
    logout(&owner, &owner.refresh_token).await.expect(204);
    owner.get("/api/v1/users").await.expect(401);
    refresh(&api, &owner.refresh_token).await.expect(401);
    logout(&owner, &owner.refresh_token).await.expect(401);
    other.get("/api/v1/users").await.expect(200);
}

#[tokio::test]
async fn a_logout_wants_the_caller_s_own_living_token() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let colleague = owner.colleague("Developer").await;
    logout(&owner, &colleague.refresh_token).await.expect(401);
    logout(&owner, "rfr_unknown").await.expect(401);
    colleague.get("/api/v1/users").await.expect(200);
    owner.get("/api/v1/users").await.expect(200);
    // With the token of another of one's sessions, both are over.
    let other = User::login(&api, &owner.id, &owner.tenant_id, &owner.email).await;
    logout(&owner, &other.refresh_token).await.expect(204);
    other.get("/api/v1/users").await.expect(401);
    owner.get("/api/v1/users").await.expect(401);
}

#[tokio::test]
async fn a_logout_with_a_token_that_a_thief_exchanged_ends_the_session() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let thief = refresh(&api, &owner.refresh_token).await.expect(200);
    logout(&owner, &owner.refresh_token).await.expect(204);
    owner.get("/api/v1/users").await.expect(401);
    refresh(&api, &thief.text_of("refreshToken")).await.expect(401);
}

#[tokio::test]
async fn a_session_is_refreshed_a_limited_number_of_times() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let mut token = owner.refresh_token.clone();
    for _ in 0..60 {
        token = refresh(&api, &token).await.expect(200).text_of("refreshToken");
    }
    refresh(&api, &token).await.expect(429);
    // The session goes on, and others of the same user are counted separately.
    owner.get("/api/v1/users").await.expect(200);
    let other = User::login(&api, &owner.id, &owner.tenant_id, &owner.email).await;
    refresh(&api, &other.refresh_token).await.expect(200);
}

#[tokio::test]
async fn a_session_ends_after_its_lifetime_however_often_it_is_refreshed() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_SESSION_LIFETIME", "1h");
    let process = process.ready().await;
    let api = Api::at(process.base());
    let owner = User::owner(&api).await;
    let session = login(&api, &owner.email, PASSWORD).await.expect(200);
    let expires = chrono::DateTime::parse_from_rfc3339(&session.text_of("expiresAt")).unwrap();
    assert!(expires.to_utc() <= hooksentry::clock::now() + chrono::TimeDelta::hours(1));
    let refreshed = refresh(&api, &session.text_of("refreshToken")).await.expect(200);
    assert_eq!(refreshed.body["expiresAt"], session.body["expiresAt"]);
    process.stop().await;
    database.discard().await;
}

#[tokio::test]
async fn one_s_own_sessions_are_listed_and_ended() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let other = User::login(&api, &owner.id, &owner.tenant_id, &owner.email).await;
    let colleague = owner.colleague("Admin").await;
    let list = owner.get("/api/v1/sessions?CpOrd=openedAt&TpOrd=Asc").await.expect(200).body;
    assert_eq!(list["total"], 2);
    let current = |user: &Value| user["isCurrent"].as_bool().unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.iter().map(current).collect::<Vec<_>>(), [true, false]);
    let path = format!("/api/v1/sessions/{}", items[1]["id"].as_str().unwrap());
    colleague.delete(&path).await.expect(404);
    other.get("/api/v1/users").await.expect(200);
    owner.delete(&path).await.expect(204);
    other.get("/api/v1/users").await.expect(401);
    refresh(&api, &other.refresh_token).await.expect(401);
    owner.delete(&path).await.expect(404);
    assert_eq!(owner.get("/api/v1/sessions").await.expect(200).body["total"], 1);
    // Those that a new password has ended are not listed.
    let path = format!("/api/v1/users/{}", colleague.id);
    let change = json!({ "password": PASSWORD });
    owner.patch(&path, &change).await.expect(200);
    let again = User::login(&api, &colleague.id, &owner.tenant_id, &colleague.email).await;
    assert_eq!(again.get("/api/v1/sessions").await.expect(200).body["total"], 1);
}

#[tokio::test]
async fn a_refresh_follows_the_user_s_state() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let user = owner.colleague("Developer").await;
    let path = format!("/api/v1/users/{}", user.id);
    owner.patch(&path, &json!({ "role": "Viewer" })).await.expect(200);
    let next = refresh(&api, &user.refresh_token).await.expect(200);
    let claims = next.text_of("accessToken").split('.').nth(1).unwrap().to_owned();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["role"], "Viewer");
    owner.patch(&path, &json!({ "status": "Inactive" })).await.expect(200);
    refresh(&api, &next.text_of("refreshToken")).await.expect(401);
}
