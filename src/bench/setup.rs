//! What a run needs in the HookSentry it measures: tenants, keys and destinations, made through the API
//! like anybody's.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::connection::{Answer, Connection};
use super::options::{BenchOptions, OptionProblem};
use crate::identifiers;

/// The API that is measured.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    /// As the URL names it.
    pub(super) host: String,
}

/// A tenant, and who it is to the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    tenant_id: String,
    email: String,
    password: String,
    api_key: String,
}

/// Where events are sent: a destination, and what it takes to send to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) tenant_id: String,
    pub(super) ingest_token: String,
    pub(super) api_key: String,
    pub(super) destination_id: String,
}

impl Api {
    /// Finds the API, and makes sure that it may be driven and is ready.
    pub(super) async fn find(options: &BenchOptions) -> anyhow::Result<Self> {
        Self::reach(&options.base, |address| options.judge(address)).await
    }

    /// Finds an API on this machine.
    pub(super) async fn on_this_machine(base: &Url) -> anyhow::Result<Self> {
        let judge = |address: IpAddr| {
            if address.is_loopback() { Ok(()) } else { Err(OptionProblem::Remote(address)) }
        };
        Self::reach(base, judge).await
    }

    async fn reach(base: &Url, judge: impl Fn(IpAddr) -> Result<(), OptionProblem>) -> anyhow::Result<Self> {
        if base.scheme() != "http" || !base.has_host() {
            return Err(OptionProblem::NotPlainHttp.into());
        }
        let name = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = base.port_or_known_default().unwrap_or(80);
        let address = tokio::net::lookup_host((name, port))
            .await
            .with_context(|| format!("{name} cannot be looked up"))?
            .next()
            .with_context(|| format!("{name} has no address"))?;
        judge(address.ip())?;
        let api = Self { address, host: format!("{}:{port}", base.host_str().unwrap_or_default()) };
        let ready = api.call("GET", "/health/ready", None, None).await;
        ready.with_context(|| format!("there is no HookSentry ready at {base}"))?;
        Ok(api)
    }

    /// Registers a tenant with an API key.
    pub(super) async fn register(&self) -> anyhow::Result<Account> {
        let name = format!("bench-{}", identifiers::new_id().simple());
        let email = format!("{name}@example.com");
        let password = identifiers::new_id().to_string();
        let body = json!({ "name": name, "ownerEmail": email, "ownerPassword": password });
        let tenant = self.call("POST", "/api/v1/tenants", None, Some(&body)).await.context(
            "a tenant cannot be made; does HOOKSENTRY_TENANT_CREATIONS_PER_HOUR allow enough of them?",
        )?;
        let tenant_id = text(&tenant, "tenantId")?;
        let mut account = Account { tenant_id, email, password, api_key: String::new() };
        let token = self.log_in(&account).await?;
        let body = json!({ "name": "bench" });
        let key = self.call("POST", "/api/v1/apikeys", Some(&token), Some(&body)).await?;
        account.api_key = text(&key, "key")?;
        Ok(account)
    }

    /// Registers destinations of a tenant, one for each URL.
    pub(super) async fn destinations(
        &self,
        account: &Account,
        urls: &[String],
        limit: u32,
    ) -> anyhow::Result<Vec<Target>> {
        let token = self.log_in(account).await?;
        let mut targets = Vec::with_capacity(urls.len());
        for url in urls {
            let body = json!({ "url": url, "serverRateLimit": limit });
            let created =
                self.call("POST", "/api/v1/destinations", Some(&token), Some(&body)).await.context(
                    "a destination cannot be made; is HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS on, so that the \
                 receiver of this program may be one?",
                )?;
            targets.push(Target {
                tenant_id: account.tenant_id.clone(),
                ingest_token: text(&created, "ingestToken")?,
                api_key: account.api_key.clone(),
                destination_id: text(&created, "id")?,
            });
        }
        Ok(targets)
    }

    /// Changes how many requests at once destinations take.
    pub(super) async fn limit(
        &self,
        account: &Account,
        targets: &[Target],
        limit: u32,
    ) -> anyhow::Result<()> {
        let token = self.log_in(account).await?;
        for target in targets {
            let path = format!("/api/v1/destinations/{}", target.destination_id);
            self.call("PATCH", &path, Some(&token), Some(&json!({ "serverRateLimit": limit }))).await?;
        }
        Ok(())
    }

    /// An access token. They do not live long, and a run may.
    pub(super) async fn log_in(&self, account: &Account) -> anyhow::Result<String> {
        let body = json!({ "email": account.email, "password": account.password });
        let session = self.call("POST", "/api/v1/auth/login", None, Some(&body)).await?;
        text(&session, "accessToken")
    }

    /// The answer's body, if it says that all went well.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let host = &self.host;
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        if let Some(token) = token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            request
                .push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(request.as_bytes()).await?;
        understand(&answer).with_context(|| format!("{method} {path}"))
    }
}

impl Account {
    /// Which tenant it is.
    pub(super) fn tenant_id(&self) -> anyhow::Result<Uuid> {
        Ok(self.tenant_id.parse()?)
    }
}

fn understand(answer: &Answer) -> anyhow::Result<Value> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if (200..300).contains(&answer.status) {
        return Ok(body.unwrap_or_default());
    }
    let detail = body.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
    bail!("it answered {} {detail}", answer.status)
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    value[field].as_str().map(str::to_owned).ok_or_else(|| anyhow!("the answer has no {field}"))
}
