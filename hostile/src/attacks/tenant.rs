//! Attacks of a tenant.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::stream;
use hooksentry_client::{ApiClient, IngestTarget};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::ADDRESS;
use crate::neighbour::{PASSWORD, client_at, register};

const DEAD_DESTINATIONS: usize = 100;
const REQUESTS_AT_ONCE: usize = 20;
/// Payloads that lists are sorted by.
const LISTED_EVENTS: usize = 300;
const LISTED_BYTES: usize = 20_000;

/// A tenant that wants everything for itself, or that the others get nothing.
pub(super) struct HostileTenant {
    client: ApiClient,
    owner_id: Uuid,
    refresh_token: String,
    key: String,
    tenant_id: Uuid,
    targets: Vec<IngestTarget>,
    /// Receivers, which end with it.
    receivers: JoinSet<()>,
}

impl HostileTenant {
    /// # Errors
    /// The API refuses.
    pub(super) async fn register(base: &str) -> anyhow::Result<Self> {
        let anonymous = ApiClient::new(client_at(ADDRESS)?, base);
        let (client, tenant) = register(&anonymous, "hostile").await?;
        let tokens = anonymous.log_in("owner@hostile.example", PASSWORD).await?;
        let key = client.create_api_key("load").await?.key;
        let receivers = JoinSet::new();
        let (tenant_id, owner_id) = (tenant.tenant_id, tenant.owner_user_id);
        let (refresh_token, targets) = (tokens.refresh_token, vec![]);
        Ok(Self { client, owner_id, refresh_token, key, tenant_id, targets, receivers })
    }

    async fn add_destination(&mut self, destination: Value) -> anyhow::Result<Uuid> {
        let created = self.client.create_destination(&destination).await?;
        let (ingest_token, api_key) = (created.ingest_token, self.key.clone());
        self.targets.push(IngestTarget { tenant_id: self.tenant_id, ingest_token, api_key });
        Ok(created.id)
    }

    async fn add_receiver(&mut self, app: Router) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        self.receivers.spawn(async move { drop(axum::serve(listener, app).await) });
        self.add_destination(json!({ "url": url, "serverRateLimit": 100_000 })).await.map(drop)
    }

    pub(super) async fn add_dripping_receiver(&mut self) -> anyhow::Result<()> {
        let bytes = || {
            stream::unfold((), |()| async {
                sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b".")), ()))
            })
        };
        let drip = move || async move { Response::new(Body::from_stream(bytes())) };
        self.add_receiver(Router::new().fallback(drip)).await
    }

    pub(super) async fn add_hanging_receiver(&mut self) -> anyhow::Result<()> {
        let hang = || async { std::future::pending::<()>().await };
        self.add_receiver(Router::new().fallback(hang)).await
    }

    /// Adds a destination whose URL is its own ingest.
    pub(super) async fn add_loop(&mut self) -> anyhow::Result<()> {
        let somewhere = json!({ "url": "http://127.0.0.1:9/", "serverRateLimit": 1_000 });
        let id = self.add_destination(somewhere).await?;
        let path = self.targets.last().map(IngestTarget::path).context("a destination")?;
        let url = self.client.url(&path);
        let credentials = json!({ "headerName": "X-Api-Key", "value": self.key });
        let change = json!({ "url": url, "authType": "ApiKey", "credentials": credentials });
        self.client.update_destination(id, &change).await?;
        Ok(())
    }

    /// Adds destinations on a closed port, and sets the shortest timer.
    pub(super) async fn add_dead_destinations(&mut self) -> anyhow::Result<()> {
        let path = format!("/api/v1/tenants/{}", self.tenant_id);
        let timer = self.client.request(Method::PATCH, &path).json(&json!({ "circuitBreakerTimer": 1 }));
        self.client.send(timer).await?.success()?;
        for number in 0..DEAD_DESTINATIONS {
            let url = format!("http://127.0.0.1:9/{number}");
            self.add_destination(json!({ "url": url, "serverRateLimit": 1_000 })).await?;
        }
        Ok(())
    }

    /// Stores large payloads.
    pub(super) async fn fill_lists(&mut self) -> anyhow::Result<()> {
        self.add_receiver(Router::new().fallback(|| async {})).await?;
        let payload = payload_of(LISTED_BYTES);
        for _ in 0..LISTED_EVENTS {
            self.client.ingest(&self.targets[0], payload.clone()).await?;
        }
        Ok(())
    }

    /// Sends webhooks of this size to its destinations in turn, as quickly as they are accepted.
    pub(super) fn send(&self, tasks: &mut JoinSet<()>, at_once: usize, bytes: usize) {
        let payload = Bytes::from(payload_of(bytes));
        for first in 0..at_once {
            let (client, targets, payload) = (self.client.clone(), self.targets.clone(), payload.clone());
            tasks.spawn(async move {
                for number in first.. {
                    let sent = client.ingest(&targets[number % targets.len()], payload.clone()).await;
                    if sent.is_err() {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
    }

    pub(super) fn change_password(&self, tasks: &mut JoinSet<()>) {
        let path = format!("/api/v1/users/{}", self.owner_id);
        self.repeat(
            tasks,
            Method::PATCH,
            &path,
            Some(json!({ "password": PASSWORD, "currentPassword": PASSWORD })),
        );
    }

    pub(super) fn refresh(&self, tasks: &mut JoinSet<()>) {
        let body = json!({ "refreshToken": self.refresh_token });
        self.repeat(tasks, Method::POST, "/api/v1/auth/refresh", Some(body));
    }

    pub(super) fn list(&self, tasks: &mut JoinSet<()>) {
        self.repeat(tasks, Method::GET, "/api/v1/events?CpOrd=payload&Qt=8", None);
    }

    fn repeat(&self, tasks: &mut JoinSet<()>, method: Method, path: &str, body: Option<Value>) {
        for _ in 0..REQUESTS_AT_ONCE {
            let (client, method, path, body) =
                (self.client.clone(), method.clone(), path.to_owned(), body.clone());
            tasks.spawn(async move {
                loop {
                    let request = client.request(method.clone(), &path);
                    let request = match &body {
                        Some(body) => request.json(body),
                        None => request,
                    };
                    // Any answer will do.
                    drop(client.send(request).await);
                }
            });
        }
    }
}

fn payload_of(bytes: usize) -> String {
    format!(r#"{{"filler":"{}"}}"#, "x".repeat(bytes))
}
