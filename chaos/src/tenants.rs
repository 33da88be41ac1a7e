//! The tenants of a run and their destinations, created through the API.

use std::time::Duration;

use anyhow::Context;
use hooksentry_client::{ApiClient, IngestTarget, NewTenant, http_client};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::history::{Behaviour, Destination, Tenant};
use crate::receivers::Receivers;

const TENANTS: usize = 4;
const LOG_IN_WITHIN: Duration = Duration::from_secs(30);
const LOG_IN_INTERVAL: Duration = Duration::from_millis(500);
const PASSWORD: &str = "a password of the fault suite";

/// Behaviours and limits of the destinations of each tenant.
const DESTINATIONS: [(Behaviour, usize); 6] = [
    (Behaviour::Healthy, 10),
    (Behaviour::Healthy, 2),
    (Behaviour::Slow, 4),
    (Behaviour::Failing, 5),
    (Behaviour::Hanging, 3),
    (Behaviour::Dead, 2),
];

/// Tenants with their destinations.
pub(crate) struct Tenants {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) destinations: Vec<Destination>,
    /// Ingest URL and API key of each destination.
    pub(crate) targets: Vec<IngestTarget>,
    emails: Vec<String>,
}

/// Returns the behaviours of all destinations, in their order.
#[must_use]
pub(crate) fn behaviours() -> Vec<Behaviour> {
    let each = || DESTINATIONS.into_iter().map(|(behaviour, _)| behaviour);
    (0..TENANTS).flat_map(|_| each()).collect()
}

impl Tenants {
    /// Creates the tenants and their destinations.
    ///
    /// # Errors
    /// The API refuses a request or does not answer.
    pub(crate) async fn create(base: &str, receivers: &Receivers) -> anyhow::Result<Self> {
        let api = ApiClient::new(http_client().build()?, base);
        let mut created = Self { tenants: vec![], destinations: vec![], targets: vec![], emails: vec![] };
        for number in 0..TENANTS {
            created.create_tenant(&api, number, receivers).await.context("a tenant cannot be created")?;
        }
        Ok(created)
    }

    async fn create_tenant(
        &mut self,
        api: &ApiClient,
        number: usize,
        receivers: &Receivers,
    ) -> anyhow::Result<()> {
        let name = format!("tenant-{number}");
        let email = format!("{name}@example.com");
        let new = NewTenant { name: &name, owner_email: &email, owner_password: PASSWORD };
        let tenant = api.register_tenant(new).await?;
        let owner = log_in(api, &email).await?;
        let settings = json!({ "maxTrys": 8, "circuitBreakerTimer": 10 });
        let path = format!("/api/v1/tenants/{}", tenant.tenant_id);
        owner.send(owner.request(Method::PATCH, &path).json(&settings)).await?.success()?;
        let api_key = owner.create_api_key("chaos").await?.key;
        for (behaviour, limit) in DESTINATIONS {
            let url = receivers.url(self.destinations.len());
            let body = json!({ "url": url, "serverRateLimit": limit });
            let created = owner.create_destination(&body).await?;
            self.destinations.push(Destination { id: created.id, tenant: number, behaviour, limit });
            self.targets.push(IngestTarget {
                tenant_id: tenant.tenant_id,
                ingest_token: created.ingest_token,
                api_key: api_key.clone(),
            });
        }
        self.tenants.push(Tenant { id: tenant.tenant_id, webhook_secret: tenant.webhook_secret });
        self.emails.push(email);
        Ok(())
    }

    /// Ends the suspension of all destinations that do not answer every request.
    ///
    /// # Errors
    /// The API refuses a request or does not answer.
    pub(crate) async fn activate(&self, base: &str) -> anyhow::Result<()> {
        let api = ApiClient::new(http_client().build()?, base);
        for (number, email) in self.emails.iter().enumerate() {
            let owner = log_in(&api, email).await?;
            let unhealthy = self.destinations.iter().filter(|destination| {
                destination.tenant == number && destination.behaviour != Behaviour::Healthy
            });
            for destination in unhealthy {
                owner.update_destination(destination.id, &json!({ "status": "active" })).await?;
            }
        }
        Ok(())
    }
}

/// Logs a user in. On a slow machine a new user is known to the read models only after a while.
async fn log_in(api: &ApiClient, email: &str) -> anyhow::Result<ApiClient> {
    let deadline = Instant::now() + LOG_IN_WITHIN;
    loop {
        match api.log_in(email, PASSWORD).await {
            Ok(tokens) => return Ok(api.with_access_token(&tokens.access_token)),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => sleep(LOG_IN_INTERVAL).await,
        }
    }
}
