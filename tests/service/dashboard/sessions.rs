//! Sign-in, refresh of a session, and its end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::browser::{Browser, SESSION};
use crate::harness::api::{Api, PASSWORD};
use crate::harness::authenticator::Authenticator;
use crate::harness::tenant::User;

#[tokio::test]
async fn a_user_signs_in_where_the_session_is_needed_and_out_again() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::new(&user.api);
    let asked =
        browser.get("/events?status=Pending").await.leads_to("/sign-in?next=%2Fevents%3Fstatus%3DPending");
    let page = browser.get(asked.header("location")).await.expect(200);
    let next = page.hidden("next");
    let fields = [("email", user.email.as_str()), ("password", PASSWORD), ("next", &next)];
    let signed_in = browser.submit(&page, "/sign-in", &fields).await.leads_to("/events?status=Pending");
    let cookie = signed_in.header("set-cookie");
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=604800"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let page = browser.get("/events").await.expect(200);
    page.has(&user.email).has("Owner");
    assert_eq!(page.header("cache-control"), "no-store");
    let stolen = browser.cookies[SESSION].clone();
    browser.submit(&page, "/sign-out", &[]).await.leads_to("/sign-in");
    assert_eq!(browser.cookies[SESSION], "");
    browser.cookies.insert(SESSION.to_owned(), stolen);
    browser.get("/events").await.leads_to("/sign-in?next=%2Fevents");
}

#[tokio::test]
async fn wrong_credentials_are_explained() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::new(&user.api);
    let page = browser.get("/sign-in").await;
    let fields = [("email", user.email.as_str()), ("password", "wrong")];
    let refused = browser.submit(&page, "/sign-in", &fields).await.expect(401);
    refused.has("Wrong email or password").has(&user.email).lacks("wrong\"");
    assert!(!browser.cookies.contains_key(SESSION));
}

#[tokio::test]
async fn after_the_sign_in_only_pages_of_ours_are_opened() {
    let user = User::owner(&Api::shared().await).await;
    for next in ["//evil.example.com", "https://evil.example.com", "/\\evil.example.com"] {
        let mut browser = Browser::new(&user.api);
        let page = browser.get("/sign-in").await;
        let fields = [("email", user.email.as_str()), ("password", PASSWORD), ("next", next)];
        browser.submit(&page, "/sign-in", &fields).await.leads_to("/");
        browser.get(&format!("/sign-in?next={next}")).await.leads_to("/");
    }
}

#[tokio::test]
async fn a_second_factor_is_asked_for_in_a_second_step() {
    let user = User::owner(&Api::shared().await).await;
    let begun = user.post("/api/v1/second-factor", &json!({ "currentPassword": PASSWORD })).await.expect(200);
    let mut app = Authenticator::new(&begun.text_of("secret"));
    let code = app.code().await;
    user.post("/api/v1/second-factor/confirm", &json!({ "totpCode": code })).await.expect(200);

    let mut browser = Browser::new(&user.api);
    let page = browser.get("/sign-in").await;
    let fields = [("email", user.email.as_str()), ("password", PASSWORD), ("next", "/events")];
    let second = browser.submit(&page, "/sign-in", &fields).await.expect(200);
    second.has("authenticator").lacks(PASSWORD);
    let step = second.hidden("first_step");
    let wrong = app.wrong_codes().next().expect("a code");
    let fields = [("first_step", step.as_str()), ("next", "/events"), ("code", &wrong)];
    let again = browser.submit(&second, "/sign-in", &fields).await;
    again.has("Wrong email or password");
    let (step, code) = (again.hidden("first_step"), app.code().await);
    let fields = [("first_step", step.as_str()), ("next", "/events"), ("code", &code)];
    browser.submit(&again, "/sign-in", &fields).await.leads_to("/events");
    browser.get("/events").await.expect(200);

    let mut other = Browser::new(&user.api);
    let page = other.get("/sign-in").await;
    other.submit(&page, "/sign-in", &[("first_step", &step), ("code", &code)]).await.has("<h1>Sign in</h1>");
}

/// Returns the cookie of a session whose access token has expired.
fn expired(cookie: &str) -> String {
    let (refresh, access) = cookie.split_once('~').expect("two tokens");
    let parts: Vec<&str> = access.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64");
    let mut claims: Value = serde_json::from_slice(&claims).expect("claims");
    claims["exp"] = json!(1_000_000_000);
    format!("{refresh}~{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}

#[tokio::test]
async fn requests_at_once_refresh_a_session_once() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    let old = browser.get("/events").await.hidden("form_token");
    let cookie = expired(&browser.cookies[SESSION]);
    browser.cookies.insert(SESSION.to_owned(), cookie.clone());
    let requests = (0..12).map(|_| browser.request(Method::GET, "/events").send());
    let mut cookies = vec![];
    for answer in join_all(requests).await {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        cookies.push(answer.headers()["set-cookie"].to_str().expect("text").to_owned());
    }
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "each has the same new tokens");
    let page = browser.get("/events").await.expect(200);
    assert_ne!(browser.cookies[SESSION], cookie);
    assert_eq!(page.hidden("form_token"), old, "forms stay valid when the tokens change");
    browser.get("/events").await.expect(200);
}

#[tokio::test]
async fn a_session_that_has_ended_leads_to_the_sign_in() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/events").await.expect(200);
    let sessions = user.get("/api/v1/sessions").await.expect(200);
    let sessions = sessions.body["items"].as_array().expect("sessions");
    let other = sessions.iter().find(|session| session["isCurrent"] == false).expect("the browser's session");
    let id = other["id"].as_str().expect("an id");
    user.delete(&format!("/api/v1/sessions/{id}")).await.expect(204);
    let mut again = Browser::new(&user.api);
    again.cookies = browser.cookies.clone();
    for mut browser in [browser, again] {
        let before = browser.cookies[SESSION].clone();
        browser.get("/events?status=Pending").await.leads_to("/sign-in?next=%2Fevents%3Fstatus%3DPending");
        assert_eq!(browser.cookies[SESSION], "");
        // Its refresh token is refused as well.
        browser.cookies.insert(SESSION.to_owned(), expired(&before));
        browser
            .submit(&page, "/events/7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a/replay", &[])
            .await
            .leads_to("/sign-in");
    }
}

#[tokio::test]
async fn a_fragment_of_a_page_sends_the_browser_to_the_sign_in() {
    let mut browser = Browser::new(&Api::shared().await);
    let request = browser.request(Method::GET, "/events").header("hx-request", "true");
    let answer = browser.send(request).await.expect(204);
    assert_eq!(answer.header("hx-redirect"), "/sign-in?next=%2Fevents");
}

#[tokio::test]
async fn cookies_are_bound_to_a_host_that_is_not_this_machine() {
    let mut browser = Browser::new(&Api::shared().await);
    let request = browser.request(Method::GET, "/sign-in").header("host", "hooks.example.com");
    let page = browser.send(request).await.expect(200);
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-hooksentry-visitor=") && cookie.contains("; Secure"), "{cookie}");
}
