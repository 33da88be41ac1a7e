//! A tenant as a client sees it: the API, and nothing but the API.

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::{client, until};

/// A tenant with its owner logged in and an API key at hand.
#[derive(Clone)]
pub(crate) struct Account {
    client: Client,
    base: String,
    pub(crate) tenant_id: String,
    pub(crate) webhook_secret: String,
    token: String,
    refresh_token: String,
    api_key: String,
}

/// A destination and the token that leads to it.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) id: String,
    pub(crate) ingest_token: String,
}

impl Account {
    /// Registers a tenant through the API at `base`.
    pub(crate) async fn register(base: &str) -> Self {
        let client = client();
        let name = format!("tenant-{:016x}", rand::random::<u64>());
        let email = format!("{name}@example.com");
        let tenant =
            send(client.post(format!("{base}/api/v1/tenants")).json(
                &json!({ "name": name, "ownerEmail": email, "ownerPassword": "a password of the tests" }),
            ))
            .await;
        let login = send(
            client
                .post(format!("{base}/api/v1/auth/login"))
                .json(&json!({ "email": email, "password": "a password of the tests" })),
        )
        .await;
        let token = text(&login, "accessToken");
        let key = send(
            client
                .post(format!("{base}/api/v1/apikeys"))
                .bearer_auth(&token)
                .json(&json!({ "name": "tests" })),
        )
        .await;
        Self {
            client,
            base: base.to_owned(),
            tenant_id: text(&tenant, "tenantId"),
            webhook_secret: text(&tenant, "webhookSecret"),
            token,
            refresh_token: text(&login, "refreshToken"),
            api_key: text(&key, "key"),
        }
    }

    /// The same account through another process's API.
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Changes how stubbornly deliveries are retried.
    pub(crate) async fn resilience(&self, max_attempts: u32, circuit_breaker_timer: u32) {
        let url = format!("{}/api/v1/tenants/{}", self.base, self.tenant_id);
        let body = json!({ "maxTrys": max_attempts, "circuitBreakerTimer": circuit_breaker_timer });
        send(self.client.patch(url).bearer_auth(&self.token).json(&body)).await;
    }

    /// Replaces the webhook secret, and answers with the new one.
    pub(crate) async fn regenerate_secret(&self, rotation: Value) -> String {
        let url = format!("{}/api/v1/tenants/{}/webhook-secret", self.base, self.tenant_id);
        text(&send(self.client.post(url).bearer_auth(&self.token).json(&rotation)).await, "webhookSecret")
    }

    /// Registers a destination.
    pub(crate) async fn destination(&self, url: &str, limit: u32) -> Destination {
        let body = json!({ "url": url, "serverRateLimit": limit });
        let created = send(
            self.client
                .post(format!("{}/api/v1/destinations", self.base))
                .bearer_auth(&self.token)
                .json(&body),
        )
        .await;
        Destination { id: text(&created, "id"), ingest_token: text(&created, "ingestToken") }
    }

    /// Changes a destination.
    pub(crate) async fn change(&self, destination: &Destination, change: Value) -> Value {
        let url = format!("{}/api/v1/destinations/{}", self.base, destination.id);
        send(self.client.patch(url).bearer_auth(&self.token).json(&change)).await
    }

    /// Sends a webhook as it is, and answers with whatever came back.
    pub(crate) async fn try_ingest(
        &self,
        destination: &Destination,
        payload: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Response> {
        let url = format!("{}/api/v1/ingest/{}/{}", self.base, self.tenant_id, destination.ingest_token);
        self.client.post(url).header("X-Api-Key", &self.api_key).body(payload).send().await
    }

    /// Sends a webhook, which must be accepted, and answers with the event's id.
    pub(crate) async fn ingest(&self, destination: &Destination, payload: &Value) -> String {
        let response = self.try_ingest(destination, payload.to_string()).await.expect("an answer");
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, 202, "{body}");
        text(&body, "eventId")
    }

    /// A resource by its path under `/api/v1`.
    pub(crate) async fn get(&self, path: &str) -> Value {
        send(self.client.get(format!("{}/api/v1/{path}", self.base)).bearer_auth(&self.token)).await
    }

    /// Opens the live stream, or resumes it after the event of this id.
    pub(crate) async fn stream(&self, last_event_id: Option<&str>) -> Response {
        let request = self.client.get(format!("{}/api/v1/stream", self.base)).bearer_auth(&self.token);
        let request = match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    /// Logs out, and with it ends every stream of this login.
    pub(crate) async fn log_out(&self) {
        let url = format!("{}/api/v1/auth/logout", self.base);
        let body = json!({ "refreshToken": self.refresh_token });
        let answer = self.client.post(url).bearer_auth(&self.token).json(&body).send().await;
        assert_eq!(answer.expect("an answer").status(), 204);
    }

    /// A command without a body.
    pub(crate) async fn post(&self, path: &str) -> Response {
        let url = format!("{}/api/v1/{path}", self.base);
        self.client.post(url).bearer_auth(&self.token).send().await.expect("an answer")
    }

    /// A deletion.
    pub(crate) async fn delete(&self, path: &str) -> Response {
        let url = format!("{}/api/v1/{path}", self.base);
        self.client.delete(url).bearer_auth(&self.token).send().await.expect("an answer")
    }

    /// How many events have this status.
    pub(crate) async fn count(&self, status: &str) -> usize {
        let page = self.get(&format!("events?Qt=1&Status={status}")).await;
        usize::try_from(page["total"].as_u64().expect("a total")).expect("a count")
    }

    /// Waits until so many events have this status.
    pub(crate) async fn until_count(&self, status: &str, count: usize) {
        until(&format!("{count} events to be {status}"), async || {
            (self.count(status).await == count).then_some(())
        })
        .await;
    }

    /// Waits until an event has this status.
    pub(crate) async fn until_event(&self, event_id: &str, status: &str) -> Value {
        until(&format!("event {event_id} to be {status}"), async || {
            Some(self.get(&format!("events/{event_id}")).await).filter(|event| event["status"] == status)
        })
        .await
    }
}

async fn send(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let body: Value = response.json().await.expect("JSON");
    assert!(status.is_success(), "{status}: {body}");
    body
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}
