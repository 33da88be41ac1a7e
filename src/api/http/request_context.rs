//! Context of every request: its id, its trace, the address of the client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aggregates::ids::{ApiKeyId, PortalLinkId, TenantId, UserId};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use projections::fact_origins::Client;

use crate::api::http::client_address::TrustedProxies;
use crate::api::http::problem::Problem;
use crate::event_store::{Actor, Metadata, Origin, Origins, Person};
use crate::identifiers;
use crate::secrets::passwords::Requester;

/// Header with the id of a request, in the request and in the response.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is accepted from a client, in characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// Longest user agent that is kept, in characters. The rest is cut off.
const USER_AGENT_CHARS_MAX: usize = 512;

/// What contexts of requests are made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContextSource {
    pub(crate) proxies: TrustedProxies,
    pub(crate) origins: Origins,
}

/// Id, trace and client of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) trace_id: Option<Arc<str>>,
    pub(crate) client: IpAddr,
    /// As the client sent it.
    user_agent: Option<HeaderValue>,
    origins: Origins,
}

impl RequestContext {
    pub(crate) fn of(request: &Request, source: &ContextSource) -> Self {
        let headers = request.headers();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            request_id: given_request_id(headers)
                .map_or_else(|| identifiers::new_id().to_string().into(), Arc::from),
            trace_id: trace_id(headers).map(Arc::from),
            client: source.proxies.client(peer.unwrap_or(unknown), headers),
            user_agent: headers.get(USER_AGENT).cloned(),
            origins: source.origins.clone(),
        }
    }

    /// Returns the metadata of facts that `user` causes with this request.
    pub(crate) fn metadata_of_user(&self, tenant_id: TenantId, user: UserId) -> Metadata {
        self.metadata_of_person(Person { tenant_id, user_id: user }, Actor::User(user))
    }

    /// Returns the metadata of facts that this request causes without credentials. Its origin is erased with the personal
    /// data of the user whom it is about.
    pub(crate) fn metadata_of_stranger(&self, tenant_id: TenantId, about: UserId) -> Metadata {
        self.metadata_of_person(Person { tenant_id, user_id: about }, Actor::Anonymous)
    }

    /// Returns the metadata of facts that ingest causes. They have no origin: the client is a machine.
    pub(crate) fn metadata_of_ingest(&self, tenant_id: TenantId, key: ApiKeyId) -> Metadata {
        self.metadata(tenant_id, Actor::ApiKey(key), None)
    }

    /// Returns the metadata of facts that the holder of a portal link causes. They have no origin: the client is that of a
    /// person who is no user, whose personal data could not be erased.
    pub(crate) fn metadata_of_portal_link(&self, tenant_id: TenantId, link: PortalLinkId) -> Metadata {
        self.metadata(tenant_id, Actor::PortalLink(link), None)
    }

    fn metadata_of_person(&self, person: Person, actor: Actor) -> Metadata {
        let client = Client { address: self.client, user_agent: self.user_agent.as_ref().map(bounded_text) };
        self.metadata(person.tenant_id, actor, Some(self.origins.of(person, client)))
    }

    fn metadata(&self, tenant_id: TenantId, actor: Actor, origin: Option<Origin>) -> Metadata {
        Metadata {
            tenant_id,
            actor,
            request_id: Some(self.request_id.to_string()),
            trace_id: self.trace_id.as_deref().map(str::to_owned),
            bulk_action_id: None,
            origin,
        }
    }

    /// Returns the client as one who has a password hashed.
    pub(crate) fn requester(&self) -> Requester {
        Requester::Client(self.client.into())
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.request_id).ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let context = parts.extensions.get::<Self>().cloned();
        context.ok_or_else(|| Problem::internal("a route is mounted without the layers of the router"))
    }
}

/// Returns the beginning of a header as text.
fn bounded_text(header: &HeaderValue) -> String {
    String::from_utf8_lossy(header.as_bytes()).chars().take(USER_AGENT_CHARS_MAX).collect()
}

/// Returns the id that the client gave its request, if it is safe to log.
fn given_request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (!id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.bytes().all(safe)).then_some(id)
}

/// Returns the trace id of a W3C `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let parent = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = parent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (version.len() == 2 && trace.len() == 32 && hex(trace) && trace.bytes().any(|byte| byte != b'0'))
        .then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_safe_request_id_of_a_client_is_kept() {
        assert_eq!(given_request_id(&headers("x-request-id", "abc-123")), Some("abc-123"));
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(129)] {
            assert_eq!(given_request_id(&headers("x-request-id", bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_user_agent_is_cut_and_made_text() {
        let text = |value: &[u8]| bounded_text(&HeaderValue::from_bytes(value).unwrap());
        assert_eq!(text(b"curl/8.5.0"), "curl/8.5.0");
        assert_eq!(text(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(text("ä".repeat(600).as_bytes()), "ä".repeat(USER_AGENT_CHARS_MAX));
    }

    #[test]
    fn the_trace_id_is_that_of_a_valid_traceparent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let valid = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&headers("traceparent", &valid)), Some(trace));
        for bad in [
            "",
            "00-zz-1-1",
            &valid.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(&headers("traceparent", bad)), None, "{bad}");
        }
    }
}
