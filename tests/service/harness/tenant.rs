//! Users and tenants of a test, created through the API.

use hooksentry_client::{ApiClient, CreatedRoute, IngestTarget, NewTenant};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::{Value, json};

use super::api::{Answer, Api, PASSWORD, send, unique};
use super::until;

pub(crate) use hooksentry_client::CreatedRoute as Destination;

/// User who is logged in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) email: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

impl User {
    /// Registers a tenant and logs its owner in.
    pub(crate) async fn owner(api: &Api) -> Self {
        register(api).await.0
    }

    /// Creates another user of the same tenant.
    pub(crate) async fn colleague(&self, role: &str) -> Self {
        let email = format!("{}@example.com", unique("user"));
        let body = json!({ "email": email, "password": PASSWORD, "role": role });
        let user = self.post("/api/v1/users", &body).await.expect(201);
        Self::login(&self.api, &user.text_of("id"), &self.tenant_id, &email).await
    }

    /// Logs in the user with this email.
    pub(crate) async fn login(api: &Api, id: &str, tenant_id: &str, email: &str) -> Self {
        let tokens = api.client.log_in(email, PASSWORD).await.expect("a login");
        Self {
            api: api.clone(),
            id: id.to_owned(),
            tenant_id: tenant_id.to_owned(),
            email: email.to_owned(),
            token: tokens.access_token,
            refresh_token: tokens.refresh_token,
        }
    }

    /// API of this user, with the access token.
    fn client(&self) -> ApiClient {
        self.api.client.with_access_token(&self.token)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.api.request(method, path).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        send(self.request("PATCH", path).json(body)).await
    }

    /// Sends a POST without a body.
    pub(crate) async fn call(&self, path: &str) -> Answer {
        send(self.request("POST", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.request("DELETE", path)).await
    }

    /// Creates an API key of the tenant.
    pub(crate) async fn api_key(&self) -> String {
        self.client().create_api_key("tests").await.expect("an API key").key
    }

    /// Creates a destination. Returns its id and its ingest token.
    pub(crate) async fn destination(&self) -> (String, String) {
        let body = json!({ "url": "https://receiver.example.com/hooks" });
        let destination = self.client().create_destination(&body).await.expect("a destination");
        (destination.id.to_string(), destination.ingest_token)
    }

    /// Creates a sender of a destination. Returns its id and its ingest token.
    pub(crate) async fn sender(&self, destination_id: &str) -> (String, String) {
        let id = destination_id.parse().expect("an id");
        let sender = self.client().create_sender(id, "tests").await.expect("a sender");
        (sender.id.to_string(), sender.ingest_token)
    }

    /// Begins an ingest request with a payload.
    pub(crate) fn ingest(&self, api_key: &str, token: &str, payload: &str) -> RequestBuilder {
        self.api.client.ingest_request(&self.ingest_target(api_key, token), payload.to_owned())
    }

    fn ingest_target(&self, api_key: &str, token: &str) -> IngestTarget {
        IngestTarget {
            tenant_id: self.tenant_id.parse().expect("an id"),
            ingest_token: token.to_owned(),
            api_key: api_key.to_owned(),
        }
    }
}

/// Tenant of a process that a test started, with its owner logged in and an API key.
///
/// Paths are under `/api/v1/`, such as `events`.
#[derive(Clone)]
pub(crate) struct Tenant {
    owner: User,
    pub(crate) webhook_secret: String,
    pub(crate) api_key: String,
}

impl Tenant {
    /// Registers a tenant through the API at `base`.
    pub(crate) async fn register(base: &str) -> Self {
        let (owner, webhook_secret) = register(&Api::at(base)).await;
        let api_key = owner.api_key().await;
        Self { owner, webhook_secret, api_key }
    }

    /// Returns the same tenant through the API of another process.
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { owner: User { api: Api::at(base), ..self.owner.clone() }, ..self.clone() }
    }

    pub(crate) fn owner(&self) -> &User {
        &self.owner
    }

    pub(crate) fn tenant_id(&self) -> &str {
        &self.owner.tenant_id
    }

    /// Changes when deliveries are retried and given up.
    pub(crate) async fn resilience(&self, max_attempts: u32, circuit_breaker_timer: u32) {
        let body = json!({ "maxTrys": max_attempts, "circuitBreakerTimer": circuit_breaker_timer });
        self.owner.patch(&format!("/api/v1/tenants/{}", self.tenant_id()), &body).await.expect(200);
    }

    /// Replaces the webhook secret, and returns the new one.
    pub(crate) async fn regenerate_secret(&self, rotation: Value) -> String {
        let path = format!("/api/v1/tenants/{}/webhook-secret", self.tenant_id());
        self.owner.post(&path, &rotation).await.expect(200).text_of("webhookSecret")
    }

    /// Creates a destination that takes `limit` requests at a time.
    pub(crate) async fn destination(&self, url: &str, limit: u32) -> CreatedRoute {
        let body = json!({ "url": url, "serverRateLimit": limit });
        self.owner.client().create_destination(&body).await.expect("a destination")
    }

    /// Changes a destination, and returns it.
    pub(crate) async fn change(&self, destination: &CreatedRoute, change: Value) -> Value {
        self.owner.client().update_destination(destination.id, &change).await.expect("a change")
    }

    /// Sends a webhook, and returns the answer of any status.
    pub(crate) async fn try_ingest(
        &self,
        destination: &CreatedRoute,
        payload: impl Into<Body>,
    ) -> reqwest::Result<Response> {
        let target = self.owner.ingest_target(&self.api_key, &destination.ingest_token);
        self.owner.api.client.ingest_request(&target, payload).send().await
    }

    /// Sends a webhook, which must be accepted, and returns the id of the event.
    pub(crate) async fn ingest(&self, destination: &CreatedRoute, payload: &Value) -> String {
        let target = self.owner.ingest_target(&self.api_key, &destination.ingest_token);
        let accepted = self.owner.api.client.ingest(&target, payload.to_string()).await;
        accepted.expect("an accepted event").event_id.to_string()
    }

    /// Reads a resource.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.owner.client().get(&format!("/api/v1/{path}")).await.expect("a resource")
    }

    /// Opens the live stream, or resumes it after the event of this id.
    pub(crate) async fn stream(&self, last_event_id: Option<&str>) -> Response {
        let request = self.owner.request("GET", "/api/v1/stream");
        let request = match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    /// Logs out, which ends every stream of this login.
    pub(crate) async fn log_out(&self) {
        let body = json!({ "refreshToken": self.owner.refresh_token });
        self.owner.post("/api/v1/auth/logout", &body).await.expect(204);
    }

    /// Sends a POST without a body.
    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.owner.call(&format!("/api/v1/{path}")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.owner.delete(&format!("/api/v1/{path}")).await
    }

    /// Counts the events with this status.
    pub(crate) async fn count(&self, status: &str) -> usize {
        let page = self.get(&format!("events?Qt=1&Status={status}")).await;
        usize::try_from(page["total"].as_u64().expect("a total")).expect("a count")
    }

    /// Waits until this many events have this status.
    pub(crate) async fn until_count(&self, status: &str, count: usize) {
        until(&format!("{count} events to be {status}"), async || {
            (self.count(status).await == count).then_some(())
        })
        .await;
    }

    /// Waits until an event has this status, and returns it.
    pub(crate) async fn until_event(&self, event_id: &str, status: &str) -> Value {
        until(&format!("event {event_id} to be {status}"), async || {
            Some(self.get(&format!("events/{event_id}")).await).filter(|event| event["status"] == status)
        })
        .await
    }
}

/// Registers a tenant. Returns its owner, logged in, and the webhook secret.
async fn register(api: &Api) -> (User, String) {
    let name = unique("tenant");
    let email = format!("{name}@example.com");
    let tenant = NewTenant { name: &name, owner_email: &email, owner_password: PASSWORD };
    let tenant = api.client.register_tenant(tenant).await.expect("a tenant");
    let (owner, id) = (tenant.owner_user_id.to_string(), tenant.tenant_id.to_string());
    (User::login(api, &owner, &id, &email).await, tenant.webhook_secret)
}
