//! Forms of other websites are refused.

use reqwest::Method;

use super::browser::Browser;
use crate::harness::api::{Api, PASSWORD};
use crate::harness::events::accept;
use crate::harness::tenant::User;

#[tokio::test]
async fn only_forms_of_our_pages_are_accepted() {
    let user = User::owner(&Api::shared().await).await;
    let (_, token) = user.destination().await;
    let event = accept(&user, &user.api_key().await, &token).await;
    let mut browser = Browser::of(&user).await;
    let mut other = Browser::of(&User::owner(&user.api).await).await;
    let page = browser.get(&format!("/events/{event}")).await.expect(200);
    let token = page.hidden("form_token");
    let foreign = other.get("/events").await.expect(200).hidden("form_token");
    let path = format!("/events/{event}/cancel");
    let form =
        |browser: &Browser, token: &str| browser.request(Method::POST, &path).form(&[("form_token", token)]);
    for request in [
        form(&browser, &token).header("sec-fetch-site", "cross-site"),
        form(&browser, &token).header("sec-fetch-site", "same-site"),
        form(&browser, &token).header("origin", "https://evil.example.com"),
        form(&browser, &token).header("origin", "null"),
        form(&browser, &foreign).header("sec-fetch-site", "same-origin"),
        form(&browser, "").header("sec-fetch-site", "same-origin"),
        form(&browser, &token[1..]).header("sec-fetch-site", "same-origin"),
        browser.request(Method::POST, &path).header("sec-fetch-site", "same-origin"),
        browser
            .request(Method::POST, &path)
            .header("content-type", "text/plain")
            .body(format!("form_token={token}")),
    ] {
        browser.send(request).await.expect(403).has("This form was not accepted");
    }
    let shown = user.get(&format!("/api/v1/events/{event}")).await.expect(200);
    assert_eq!(shown.body["status"], "Pending", "nothing was cancelled");
    let accepted = form(&browser, &token).header("sec-fetch-site", "same-origin");
    browser.send(accepted).await.leads_to(&format!("/events/{event}?done=cancelled"));
}

#[tokio::test]
async fn a_sign_in_that_another_website_sends_is_refused() {
    let user = User::owner(&Api::shared().await).await;
    let mut victim = Browser::new(&user.api);
    let mut attacker = Browser::new(&user.api);
    let token = attacker.get("/sign-in").await.expect(200).hidden("form_token");
    victim.get("/sign-in").await.expect(200);
    let fields = [("email", user.email.as_str()), ("password", PASSWORD), ("form_token", &token)];
    let request = victim.request(Method::POST, "/sign-in").form(&fields);
    victim.send(request).await.expect(403);
}

#[tokio::test]
async fn a_form_is_small() {
    let mut browser = Browser::new(&Api::shared().await);
    let page = browser.get("/sign-in").await;
    let large = "x".repeat(3 << 20);
    browser.submit(&page, "/sign-in", &[("email", &large)]).await.expect(413).has("too large");
}
