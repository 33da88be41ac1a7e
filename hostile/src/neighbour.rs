//! The well-behaved tenant: a steady rate of webhooks to a receiver that answers at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use hooksentry_client::{ApiClient, IngestTarget, NewTenant, RegisteredTenant};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub(crate) const PASSWORD: &str = "tulip-orbit-47-canyon";

/// Webhooks a second.
const RATE: u32 = 25;
/// Time within which a webhook must arrive after it was accepted.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// Address of the tenant's clients, as a proxy would report it.
const ADDRESS: &str = "198.51.100.7";

type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

pub(crate) struct Neighbour {
    client: ApiClient,
    target: IngestTarget,
    arrivals: Arrivals,
    /// The receiver ends with it.
    _receiver: JoinSet<()>,
}

/// What the tenant saw in a period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    pub(crate) delivered: usize,
    /// From sending a webhook to its 202, in order.
    pub(crate) accept: Vec<Duration>,
    /// From sending a webhook to its arrival, in order.
    pub(crate) end_to_end: Vec<Duration>,
}

/// Webhook that was sent; `event_id` is absent if it was not accepted.
struct Sent {
    at: Instant,
    accepted_after: Duration,
    event_id: Option<String>,
}

/// Returns an HTTP client whose requests seem to come from `address`.
pub(crate) fn client_at(address: &'static str) -> anyhow::Result<reqwest::Client> {
    let headers = HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("x-forwarded-for"),
        HeaderValue::from_static(address),
    )]);
    Ok(hooksentry_client::http_client().default_headers(headers).timeout(Duration::from_secs(30)).build()?)
}

impl Neighbour {
    /// # Errors
    /// The API refuses.
    pub(crate) async fn register(base: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let arrivals = Arrivals::default();
        let app = Router::new().fallback(receive).with_state(Arc::clone(&arrivals));
        let mut receiver = JoinSet::new();
        receiver.spawn(async move { drop(axum::serve(listener, app).await) });
        let client = ApiClient::new(client_at(ADDRESS)?, base);
        let (client, tenant) = register(&client, "neighbour").await?;
        let key = client.create_api_key("load").await?;
        let destination = client.create_destination(&json!({ "url": url, "serverRateLimit": 50 })).await?;
        let (tenant_id, ingest_token) = (tenant.tenant_id, destination.ingest_token);
        let target = IngestTarget { tenant_id, ingest_token, api_key: key.key };
        Ok(Self { client, target, arrivals, _receiver: receiver })
    }

    /// Sends webhooks for `duration`, and waits until those that were accepted have arrived.
    ///
    /// # Errors
    /// Never, unless a task panics.
    pub(crate) async fn send_for(&self, duration: Duration) -> anyhow::Result<Figures> {
        let mut ticks = interval(Duration::from_secs(1) / RATE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + duration;
        let mut sending = JoinSet::new();
        while Instant::now() < end {
            ticks.tick().await;
            let (client, target) = (self.client.clone(), self.target.clone());
            sending.spawn(async move {
                let at = Instant::now();
                let accepted = client.ingest(&target, r#"{"event":"invoice.paid"}"#).await;
                let event_id = accepted.ok().map(|accepted| accepted.event_id.to_string());
                Sent { at, accepted_after: at.elapsed(), event_id }
            });
        }
        let mut sent = Vec::new();
        while let Some(one) = sending.join_next().await {
            sent.push(one.context("a task that sends")?);
        }
        self.until_arrived(&sent).await;
        Ok(self.figures(&sent))
    }

    async fn until_arrived(&self, sent: &[Sent]) {
        let deadline = Instant::now() + ARRIVES_WITHIN;
        let all_arrived = || {
            let arrivals = self.arrivals.lock().expect("no panic while it is locked");
            sent.iter().filter_map(|sent| sent.event_id.as_ref()).all(|id| arrivals.contains_key(id))
        };
        while !all_arrived() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn figures(&self, sent: &[Sent]) -> Figures {
        let arrivals = self.arrivals.lock().expect("no panic while it is locked");
        let mut figures = Figures { sent: sent.len(), ..Figures::default() };
        for one in sent {
            let Some(event_id) = &one.event_id else { continue };
            figures.accepted += 1;
            figures.accept.push(one.accepted_after);
            if let Some(arrived) = arrivals.get(event_id) {
                figures.delivered += 1;
                figures.end_to_end.push(arrived.saturating_duration_since(one.at));
            }
        }
        figures.accept.sort_unstable();
        figures.end_to_end.sort_unstable();
        figures
    }
}

/// Registers a tenant. Returns a client with the access token of its owner as well.
///
/// # Errors
/// The API refuses.
pub(crate) async fn register(
    client: &ApiClient,
    name: &str,
) -> anyhow::Result<(ApiClient, RegisteredTenant)> {
    let owner_email = &format!("owner@{name}.example");
    let tenant = NewTenant { name, owner_email, owner_password: PASSWORD };
    let tenant = client.register_tenant(tenant).await.context("the tenant cannot be registered")?;
    let tokens = client.log_in(owner_email, PASSWORD).await?;
    Ok((client.with_access_token(&tokens.access_token), tenant))
}

async fn receive(State(arrivals): State<Arrivals>, headers: HeaderMap) -> StatusCode {
    let event_id = headers.get("x-hooksentry-event-id").and_then(|value| value.to_str().ok());
    if let Some(event_id) = event_id {
        arrivals
            .lock()
            .expect("no panic while it is locked")
            .entry(event_id.to_owned())
            .or_insert_with(Instant::now);
    }
    StatusCode::OK
}
