//! The webhook secret, and the tester of signatures.

use chrono::{DateTime, TimeDelta, Utc};
use hooksentry::clock;
use hooksentry::worker::signature::{SigningSecrets, sign, sign_standard};

use secrecy::SecretString;

use super::browser::{Browser, Page};
use crate::harness::api::Api;
use crate::harness::tenant::User;

fn shown_secret(page: &Page) -> String {
    let (_, rest) = page.text.split_once("id=\"secret\">").expect("a secret");
    rest.split('<').next().expect("a secret").to_owned()
}

fn standard_headers(secret: &str, time: DateTime<Utc>, body: &str) -> String {
    let signature =
        sign_standard(&SigningSecrets::from(SecretString::from(secret)), "7", time, body.as_bytes());
    format!("webhook-id: 7\nwebhook-timestamp: {}\nwebhook-signature: {signature}", time.timestamp())
}

#[tokio::test]
async fn a_signature_is_found_right_or_what_is_wrong_is_said() {
    let user = User::owner(&Api::shared().await).await.colleague("Developer").await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/signing").await.expect(200);
    page.lacks("/signing/replace").has("hmac.compare_digest").has("hash_equals");
    let secret = shown_secret(&browser.submit(&page, "/signing/secret", &[]).await.expect(200));
    let body = "{\n  \"a\": \"<b>é\"\n}";
    let plain = format!("X-HookSentry-Signature: {}", sign(&secret.as_str().into(), body.as_bytes()));
    let other = sign(&"whsec_other".into(), body.as_bytes());
    let now = clock::now();
    let standard = standard_headers(&secret, now, body);
    let old = standard_headers(&secret, now - TimeDelta::hours(2), body);
    let both = format!("{plain}\n{standard}");
    // Browsers send line breaks as two characters.
    let sent = body.replace('\n', "\r\n");
    let with_break = format!("{sent}\r\n");
    for (headers, body, said) in [
        (plain.as_str(), sent.as_str(), "X-HookSentry-Signature is right."),
        (&both, &sent, "webhook-signature is right."),
        (&plain, &with_break, "without the line break at its end"),
        (&plain, "{}", "the bytes as they were received"),
        (&other, &sent, "X-HookSentry-Signature is wrong."),
        (&plain.to_uppercase(), &sent, "must begin with sha256="),
        ("webhook-signature: v1,x", &sent, "also signs webhook-id"),
        (&old, &sent, "2 h ago: receivers refuse it now"),
        (&standard, "{}", "webhook-signature is wrong."),
    ] {
        let tested = browser.submit(&page, "/signing/test", &[("headers", headers), ("body", body)]).await;
        tested.expect(200).has(said).lacks("<b>é").lacks(&secret);
    }
    let fields = [("headers", "Host: a"), ("body", "")];
    browser
        .submit(&page, "/signing/test", &fields)
        .await
        .expect(400)
        .has("<b>Headers</b> must have a line of");
    let mut viewer = Browser::of(&User::owner(&user.api).await.colleague("Viewer").await).await;
    let page = viewer.get("/users").await.expect(200);
    let fields = [("headers", plain.as_str()), ("body", body)];
    viewer.submit(&page, "/signing/test", &fields).await.expect(403).has("Your role does not allow this");
}

#[tokio::test]
async fn the_secret_is_replaced_with_an_overlap() {
    let owner = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&owner).await;
    let page = browser.get("/signing").await.expect(200);
    let before = shown_secret(&browser.submit(&page, "/signing/secret", &[]).await.expect(200));
    page.lacks(&before);
    for hours in ["721", "many"] {
        let refused = browser.submit(&page, "/signing/replace", &[("hours", hours)]).await.expect(400);
        refused.has("<b>Hours of overlap</b>");
    }
    let overlapping = browser.submit(&page, "/signing/replace", &[("hours", "24")]).await.expect(200);
    overlapping.has("the previous secret").has("in 23 h");
    let at_once = browser.submit(&page, "/signing/replace", &[("hours", "")]).await.expect(200);
    at_once.has("The previous one is void.");
    let secrets = [before, shown_secret(&overlapping), shown_secret(&at_once)];
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2]);
}
