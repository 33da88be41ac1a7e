//! Pages of the dashboard, read as a browser without scripts reads them.

use std::time::Instant;

use anyhow::Context;
use hooksentry_client::ApiClient;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Method, Response};

use super::queries::QueryContext;
use crate::setup::{Api, BenchTenant};

/// Names and paths of the pages. `{destination}` is replaced by a random one.
pub(super) const PAGES: [(&str, &str); 6] = [
    ("page of the overview", "/"),
    ("page of all events", "/events"),
    ("page of events that were given up", "/events?Status=CriticalFailure"),
    ("page of events of a destination", "/events?DestinationUrlId={destination}"),
    ("page of destinations", "/destinations"),
    ("page of the audit trail", "/audit"),
];

/// A browser in which the owner of a tenant is signed in.
pub(super) struct Browser<'a> {
    client: &'a ApiClient,
    cookies: Vec<String>,
}

impl<'a> Browser<'a> {
    /// Signs in with the form of the dashboard.
    ///
    /// # Errors
    /// The service has no dashboard, or refuses.
    pub(super) async fn sign_in(api: &'a Api, tenant: &BenchTenant) -> anyhow::Result<Self> {
        let mut browser = Self { client: api.client(), cookies: vec![] };
        let form = browser.send(Method::GET, "/sign-in", None).await?.text().await?;
        let (_, rest) = form.split_once(r#"name="form_token" value=""#).context("a form to sign in")?;
        let token = rest.split('"').next().unwrap_or_default();
        let (email, password) = tenant.credentials();
        let fields = [("form_token", token), ("next", "/"), ("email", email), ("password", password)];
        let answer = browser.send(Method::POST, "/sign-in", Some(&fields)).await?;
        anyhow::ensure!(answer.status().is_redirection(), "the dashboard answers {}", answer.status());
        Ok(browser)
    }

    /// Reads a page, and returns the microseconds that it took.
    ///
    /// # Errors
    /// The answer is not the page.
    pub(super) async fn read(&mut self, path: &str) -> anyhow::Result<u64> {
        let sent = Instant::now();
        let answer = self.send(Method::GET, path, None).await?.error_for_status()?;
        anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.bytes().await?;
        Ok(u64::try_from(sent.elapsed().as_micros())?)
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        form: Option<&[(&str, &str)]>,
    ) -> anyhow::Result<Response> {
        let mut request = self.client.request(method, path).header(COOKIE, self.cookies.join("; "));
        if let Some(fields) = form {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let answer = request.send().await?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            let name = pair.split('=').next().unwrap_or_default();
            self.cookies.retain(|kept| kept.split('=').next() != Some(name));
            self.cookies.push(pair.to_owned());
        }
        Ok(answer)
    }
}

/// Returns the path of a page, with a random destination if it has one.
pub(super) fn path(template: &str, context: &QueryContext, rng: &mut StdRng) -> String {
    let number = rng.random_range(0..context.destinations.len().max(1));
    let destination = context.destinations.get(number).map(ToString::to_string).unwrap_or_default();
    template.replace("{destination}", &destination)
}
