//! Tenants, API keys and destinations of a run, created through the API.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use hooksentry_client::{ANSWER_TIMEOUT, ApiClient, IngestTarget, NewTenant, http_client};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::options::{BenchOptions, OptionProblem};

/// API under measurement.
pub(crate) struct Api {
    client: ApiClient,
    /// Address of the load generator's connections.
    pub(crate) address: SocketAddr,
    /// Host and port as in the URL.
    pub(crate) host: String,
}

/// Tenant of the benchmark, with the credentials of its owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BenchTenant {
    pub(crate) tenant_id: Uuid,
    email: String,
    password: String,
    api_key: String,
}

/// Destination of a tenant, with all that ingest requires.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) destination_id: Uuid,
    pub(crate) ingest: IngestTarget,
}

impl BenchTenant {
    /// Returns the email address and the password of the owner.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        (&self.email, &self.password)
    }
}

impl Api {
    pub(crate) fn client(&self) -> &ApiClient {
        &self.client
    }

    /// Connects to the API, which must be ready, and on this machine unless the options allow others.
    pub(crate) async fn connect(options: &BenchOptions) -> anyhow::Result<Self> {
        Self::connect_to(&options.base, |address| options.check_address(address)).await
    }

    /// Connects to an API on this machine, which must be ready.
    pub(crate) async fn connect_locally(base: &Url) -> anyhow::Result<Self> {
        let is_local = |address: IpAddr| match address.is_loopback() {
            true => Ok(()),
            false => Err(OptionProblem::Remote(address)),
        };
        Self::connect_to(base, is_local).await
    }

    async fn connect_to(
        base: &Url,
        check_address: impl Fn(IpAddr) -> Result<(), OptionProblem>,
    ) -> anyhow::Result<Self> {
        if base.scheme() != "http" || !base.has_host() {
            return Err(OptionProblem::NotPlainHttp.into());
        }
        let host = base.host_str().unwrap_or_default();
        let name = host.trim_matches(['[', ']']);
        let port = base.port_or_known_default().unwrap_or(80);
        let address = tokio::net::lookup_host((name, port))
            .await
            .with_context(|| format!("{name} cannot be looked up"))?
            .next()
            .with_context(|| format!("{name} has no address"))?;
        check_address(address.ip())?;
        // The client must not look the name up again and reach another address than the one checked.
        let http = http_client().timeout(ANSWER_TIMEOUT).resolve(name, address).build()?;
        let client = ApiClient::new(http, base.as_str());
        let ready = client.send(client.request(reqwest::Method::GET, "/health/ready")).await;
        ready
            .and_then(hooksentry_client::Answer::success)
            .with_context(|| format!("there is no HookSentry ready at {base}"))?;
        Ok(Self { client, address, host: format!("{host}:{port}") })
    }

    /// Registers a tenant and creates an API key of it.
    pub(crate) async fn register_tenant(&self) -> anyhow::Result<BenchTenant> {
        let name = format!("bench-{:032x}", rand::random::<u128>());
        let email = format!("{name}@example.com");
        let password = format!("{:032x}", rand::random::<u128>());
        let tenant = NewTenant { name: &name, owner_email: &email, owner_password: &password };
        let registered = self.client.register_tenant(tenant).await.context(
            "a tenant cannot be registered; does HOOKSENTRY_TENANT_CREATIONS_PER_HOUR allow enough of them?",
        )?;
        let tokens = self.client.log_in(&email, &password).await?;
        let api_key = self.client.with_access_token(&tokens.access_token).create_api_key("bench").await?.key;
        Ok(BenchTenant { tenant_id: registered.tenant_id, email, password, api_key })
    }

    /// Creates a destination of a tenant for each URL. Each takes `limit` requests at a time.
    pub(crate) async fn create_destinations(
        &self,
        tenant: &BenchTenant,
        urls: &[String],
        limit: u32,
    ) -> anyhow::Result<Vec<Target>> {
        let client = self.log_in(tenant).await?;
        let mut targets = Vec::with_capacity(urls.len());
        for url in urls {
            let created =
                client.create_destination(&json!({ "url": url, "serverRateLimit": limit })).await.context(
                    "a destination cannot be created; is HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS on, so that \
                     the receiver of this program may be one?",
                )?;
            let ingest = IngestTarget {
                tenant_id: tenant.tenant_id,
                ingest_token: created.ingest_token,
                api_key: tenant.api_key.clone(),
            };
            targets.push(Target { destination_id: created.id, ingest });
        }
        Ok(targets)
    }

    /// Changes how many requests destinations take at a time.
    pub(crate) async fn set_limit(
        &self,
        tenant: &BenchTenant,
        targets: &[Target],
        limit: u32,
    ) -> anyhow::Result<()> {
        let client = self.log_in(tenant).await?;
        for target in targets {
            client.update_destination(target.destination_id, &json!({ "serverRateLimit": limit })).await?;
        }
        Ok(())
    }

    /// Logs in and returns a client with the access token, which expires after some minutes.
    pub(crate) async fn log_in(&self, tenant: &BenchTenant) -> anyhow::Result<ApiClient> {
        let tokens = self.client.log_in(&tenant.email, &tenant.password).await?;
        Ok(self.client.with_access_token(&tokens.access_token))
    }
}
