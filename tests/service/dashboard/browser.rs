//! A browser: cookies, forms, redirects that it does not follow by itself.

use std::collections::BTreeMap;

use hooksentry_client::http_client;
use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder};

use crate::harness::api::{Api, PASSWORD};
use crate::harness::tenant::User;

/// Name of the cookie of a session on this machine.
pub(super) const SESSION: &str = "hooksentry";

pub(super) struct Browser {
    http: reqwest::Client,
    base: String,
    pub(super) cookies: BTreeMap<String, String>,
}

/// A page that a browser received.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Browser {
    pub(super) fn new(api: &Api) -> Self {
        let http = http_client().redirect(Policy::none()).build().expect("a client");
        Self { http, base: api.url(""), cookies: BTreeMap::new() }
    }

    /// Returns a browser in which this user is signed in.
    pub(super) async fn of(user: &User) -> Self {
        let mut browser = Self::new(&user.api);
        let page = browser.get("/sign-in").await;
        let fields = [("email", user.email.as_str()), ("password", PASSWORD)];
        browser.submit(&page, "/sign-in", &fields).await.leads_to("/");
        browser
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.http.request(method, format!("{}{path}", self.base)).header("cookie", cookies.join("; "))
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) async fn get(&mut self, path: &str) -> Page {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    /// Sends a form of a page that was received.
    pub(super) async fn submit(&mut self, page: &Page, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut fields = fields.to_vec();
        let token = page.form_token();
        fields.push(("form_token", &token));
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin").form(&fields);
        self.send(request).await
    }

    pub(super) async fn send(&mut self, request: RequestBuilder) -> Page {
        let answer = request.send().await.expect("an answer");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("text");
            let (name, rest) = cookie.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.expect("a whole answer") }
    }
}

impl Page {
    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that the page is a redirect to this path.
    #[track_caller]
    pub(super) fn leads_to(self, path: &str) -> Self {
        assert_eq!(self.status, 303, "{}", self.text);
        assert_eq!(self.header("location"), path);
        self
    }

    /// Checks that the page has this text.
    #[track_caller]
    pub(super) fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
        self
    }

    #[track_caller]
    pub(super) fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
        self
    }

    #[track_caller]
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().expect("text")
    }

    /// Returns the value of a hidden field.
    #[track_caller]
    pub(super) fn hidden(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!("name=\"{name}\" value=\"")).expect("a hidden field");
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn form_token(&self) -> String {
        self.hidden("form_token")
    }
}
