//! Sessions, password and second factor of the user.

use super::browser::{Browser, Page, SESSION};
use crate::harness::api::{Api, PASSWORD};
use crate::harness::authenticator::Authenticator;
use crate::harness::tenant::User;

#[tokio::test]
async fn sessions_are_ended_one_by_one_and_all_others_at_once() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let mut other = Browser::of(&owner).await;
    let page = browser.get("/account").await.expect(200);
    page.has("This session").has("Another session").has("End all others");
    let stranger = Browser::of(&User::owner(&owner.api).await).await.get("/account").await;
    let (_, end) = page.text.split_once("action=\"/account/sessions/").expect("another session");
    let end = format!("/account/sessions/{}", end.split('"').next().expect("a path"));
    stranger.lacks(&end);
    browser.submit(&page, &end, &[]).await.leads_to("/account?done=ended");
    browser.submit(&page, &end, &[]).await.expect(404).has("Not found");
    browser.submit(&page, "/account/sessions/end-others", &[]).await.leads_to("/account?done=others-ended");
    other.get("/account").await.leads_to("/sign-in?next=%2Faccount");
    browser.get("/account").await.expect(200).has("This session").lacks("Another session");
}

#[tokio::test]
async fn a_new_password_needs_the_current_one_and_ends_the_session() {
    let user = User::owner(&Api::shared().await).await.colleague("Viewer").await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/account").await.expect(200);
    page.has("Owners and admins can have one.");
    let new = "another password of the tests";
    for (current, password, said) in [
        ("wrong", new, "<b>Current password</b> must be the current password"),
        (PASSWORD, "", "<b>New password</b>"),
    ] {
        let fields = [("current_password", current), ("password", password)];
        let refused = browser.submit(&page, "/account/password", &fields).await.expect(400);
        refused.has(said).lacks(PASSWORD).lacks(new);
    }
    let fields = [("current_password", PASSWORD), ("password", new)];
    let changed = browser.submit(&page, "/account/password", &fields).await;
    let changed = changed.leads_to("/sign-in?done=password&next=/account");
    assert!(browser.cookies[SESSION].is_empty(), "the cookie is removed");
    let page = browser.get(changed.header("location")).await.expect(200);
    page.has("Your password is changed");
    let fields = [("email", user.email.as_str()), ("password", new), ("next", "/account")];
    browser.submit(&page, "/sign-in", &fields).await.leads_to("/account");
}

/// Returns the recovery codes that a page shows.
fn codes(page: &Page) -> Vec<String> {
    let (_, rest) = page.text.split_once("id=\"codes\">").expect("codes");
    rest.split('<').next().expect("codes").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_second_factor_is_set_up_and_disabled() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/account").await.expect(200);
    let begin = "/account/second-factor";
    let refused = browser.submit(&page, begin, &[("current_password", "wrong")]).await.expect(400);
    refused.has("<b>Current password</b>");
    let begun = browser.submit(&page, begin, &[("current_password", PASSWORD)]).await.expect(200);
    let (secret, uri) = (begun.hidden("secret"), begun.hidden("uri"));
    assert!(uri.starts_with("otpauth://totp/"), "{uri}");
    let confirm = "/account/second-factor/confirm";
    let fields = [("secret", secret.as_str()), ("uri", "javascript:alert(1)"), ("code", "abc")];
    let again = browser.submit(&page, confirm, &fields).await.expect(400);
    again.has("<b>Code</b>").has(&secret).lacks("javascript:");
    let mut app = Authenticator::new(&secret);
    let enabled = browser.submit(&page, confirm, &[("code", &app.code().await)]).await.expect(200);
    enabled.has("The second factor is enabled.").has("Sign in again");
    let codes_before = codes(&enabled);
    assert_eq!(codes_before.len(), 10);
    browser.get("/account").await.leads_to("/sign-in?next=%2Faccount");

    let page = browser.get("/sign-in").await.expect(200);
    let fields = [("email", user.email.as_str()), ("password", PASSWORD)];
    let second = browser.submit(&page, "/sign-in", &fields).await.expect(200);
    let first_step = second.hidden("first_step");
    let fields = [("first_step", first_step.as_str()), ("code", &codes_before[0])];
    browser.submit(&second, "/sign-in", &fields).await.leads_to("/");
    let page = browser.get("/account").await.expect(200);
    page.has("New recovery codes");
    let renew = "/account/second-factor/recovery-codes";
    let used = [("current_password", PASSWORD), ("code", codes_before[0].as_str())];
    browser.submit(&page, renew, &used).await.expect(400).has("<b>Code</b>");
    let unused = [("current_password", PASSWORD), ("code", codes_before[1].as_str())];
    let renewed = codes(&browser.submit(&page, renew, &unused).await.expect(200));
    assert_ne!(renewed, codes_before);
    let disable = "/account/second-factor/disable";
    let void = [("current_password", PASSWORD), ("code", codes_before[2].as_str())];
    browser.submit(&page, disable, &void).await.expect(400);
    let right = [("current_password", PASSWORD), ("code", renewed[0].as_str())];
    browser.submit(&page, disable, &right).await.leads_to("/account?done=factor-disabled");
    browser.get("/account").await.expect(200).has("Set up");
}
