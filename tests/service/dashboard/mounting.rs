//! Where the dashboard is, who may open it, and the headers of its pages.

use hooksentry_dashboard::{Access, ROUTES};
use reqwest::Method;

use super::browser::Browser;
use crate::harness::api::{Api, send};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

const SOME_ID: &str = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";

#[tokio::test]
async fn pages_of_the_tenant_need_a_session() {
    let mut browser = Browser::new(&Api::shared().await);
    let page = browser.get("/sign-in").await.expect(200);
    for route in ROUTES.iter().filter(|route| route.access == Access::Session) {
        let path = route.path.replace("{id}", SOME_ID);
        let answer = match route.method {
            Method::GET => browser.get(&path).await,
            _ => browser.submit(&page, &path, &[]).await,
        };
        assert_eq!(answer.status, 303, "{} {path}: {}", route.method, answer.text);
        assert!(answer.header("location").starts_with("/sign-in"), "{path}");
    }
}

#[tokio::test]
async fn pages_of_portal_links_need_one() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get("/account").await.expect(200);
    for route in ROUTES.iter().filter(|route| route.access == Access::PortalLink) {
        let path = route.path.replace("{id}", SOME_ID);
        let answer = match route.method {
            Method::GET => browser.get(&path).await,
            _ => browser.submit(&page, &path, &[]).await,
        };
        answer.leads_to("/portal?ended=1");
    }
    assert!(
        ROUTES.iter().all(|route| (route.access == Access::PortalLink) == route.path.starts_with("/portal/"))
    );
}

#[tokio::test]
async fn pages_load_and_run_only_files_of_ours() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    for path in ["/events", "/sign-up", "/nowhere", &format!("/events/{SOME_ID}")] {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        page.lacks("style=\"").lacks(" onclick").lacks("<script>");
    }
}

#[tokio::test]
async fn unknown_paths_are_pages_and_those_of_the_api_problems() {
    let api = Api::shared().await;
    let mut browser = Browser::new(&api);
    for path in ["/nowhere", "/events/7/8", "/assets/0123456789abcdef/dashboard.css", "/apis"] {
        let page = browser.get(path).await.expect(404);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        page.has("There is no page at this address");
    }
    for path in ["/api", "/api/v2", "/health/x", "/docs/x/y", "/.well-known/x", "/metrics/x"] {
        assert_eq!(send(api.request("GET", path)).await.expect(404).problem(), "no-such-route", "{path}");
    }
    browser.get("/sign-out").await.expect(405).has("only receives forms");
}

#[tokio::test]
async fn a_limit_is_explained_on_a_page() {
    let user = User::owner(&Api::shared().await).await;
    let mut browser = Browser::of(&user).await;
    let page = browser.get(&format!("/events/{SOME_ID}")).await.expect(404);
    page.has("Not found").has("The link may be old or mistyped.");
    assert!(page.headers.contains_key("x-request-id"));
    browser.get("/events?status=Nothing").await.expect(400).has("<b>Status</b>");
}

#[tokio::test]
async fn assets_are_kept_by_their_hash_and_compressed() {
    let mut browser = Browser::new(&Api::shared().await);
    let page = browser.get("/sign-in").await.expect(200);
    let urls: Vec<&str> = page.text.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert_eq!(urls.len(), 4, "{urls:?}");
    for url in urls {
        let request = browser.request(Method::GET, url).header("accept-encoding", "br, gzip");
        let file = browser.http().execute(request.build().expect("a request")).await.expect("an answer");
        assert_eq!(file.status(), 200, "{url}");
        assert_eq!(file.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(file.headers()["content-encoding"], "gzip");
        assert_eq!(file.bytes().await.expect("a file")[..2], [0x1f, 0x8b], "{url}");
    }
}

#[tokio::test]
async fn an_installation_may_have_no_dashboard() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api", &database.url()).with("HOOKSENTRY_DASHBOARD", "false");
    let process = launch.ready().await;
    let api = Api::at(process.base());
    for path in ["/", "/sign-in", "/events"] {
        assert_eq!(send(api.request("GET", path)).await.expect(404).problem(), "no-such-route");
    }
    let process = Launch::serve("projector", &database.url()).ready().await;
    assert_eq!(send(Api::at(process.base()).request("GET", "/sign-in")).await.status, 404);
}
