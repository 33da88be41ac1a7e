//! Admission of requests, so that those of one kind, client or tenant leave places for the others.
//!
//! There are separate places for ingest, for management, and for requests without credentials. A request takes one for
//! its client before anything is looked up, and hands it over to the tenant as soon as the credentials are known. A
//! request that finds no place is refused at once: a queue in front of a busy service would only delay its responses.
//!
//! The bytes of bodies that are held in memory are limited over all requests. A large answer keeps its place and its
//! bytes until the client has read it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aggregates::ids::TenantId;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use crate::api::access::permissions::Permission;
use crate::api::http::problem::Problem;
use crate::api::http::request_context::RequestContext;
use crate::client_network::ClientNetwork;
use crate::config::RequestSettings;
use crate::http_server::PIECE_BYTES;
use crate::shared_limit::{Refusal, SharedLimit, Units};

/// Kind of requests that share places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    Ingest,
    /// With the access token of a user.
    Management,
    /// Without credentials.
    Anonymous,
}

/// Who holds places and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Client(ClientNetwork),
    Tenant(TenantId),
}

/// Places of all kinds, and bytes of bodies.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    ingest: SharedLimit<Holder>,
    management: SharedLimit<Holder>,
    anonymous: SharedLimit<Holder>,
    body_bytes: SharedLimit<Holder>,
}

/// Limits of the requests of a route.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    kind: RequestKind,
    places: SharedLimit<Holder>,
    body_bytes: SharedLimit<Holder>,
    /// `None`: no timeout.
    timeout: Option<Duration>,
}

/// Place of a request and the bytes of its bodies, until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    kind: RequestKind,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug)]
struct Taken {
    place: Units<Holder>,
    body_bytes: Units<Holder>,
}

/// Marks an answer that does not keep the place of its request: its body uses no memory of its own, or has a limit of
/// its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepsNoPlace;

impl Places {
    pub(crate) fn new(settings: &RequestSettings) -> Self {
        let places = |kind: RequestKind, max| {
            SharedLimit::new(max, metrics::gauge!("hooksentry_http_requests", "kind" => kind.label()))
        };
        Self {
            ingest: places(RequestKind::Ingest, settings.ingest_requests),
            management: places(RequestKind::Management, settings.management_requests),
            anonymous: places(RequestKind::Anonymous, settings.anonymous_requests),
            body_bytes: SharedLimit::new(settings.body_bytes, metrics::gauge!("hooksentry_http_body_bytes")),
        }
    }

    /// Returns the limits of a route with this permission.
    pub(crate) fn of_route(&self, permission: Permission, timeout: Option<Duration>) -> Admission {
        let (kind, places) = match permission {
            Permission::ApiKey => (RequestKind::Ingest, &self.ingest),
            Permission::Anyone => (RequestKind::Anonymous, &self.anonymous),
            _ => (RequestKind::Management, &self.management),
        };
        Admission { kind, places: places.clone(), body_bytes: self.body_bytes.clone(), timeout }
    }
}

impl RequestKind {
    fn label(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Management => "management",
            Self::Anonymous => "anonymous",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Ingest => "HOOKSENTRY_INGEST_REQUESTS",
            Self::Management => "HOOKSENTRY_MANAGEMENT_REQUESTS",
            Self::Anonymous => "HOOKSENTRY_ANONYMOUS_REQUESTS",
        }
    }

    fn refuse(self, refusal: Refusal, holder: Holder) -> Problem {
        metrics::counter!("hooksentry_http_refused_total", "limit" => self.label()).increment(1);
        let (kind, setting) = (self.label(), self.setting());
        match refusal {
            Refusal::Exhausted => Problem::overloaded(format!(
                "The service has as many concurrent {kind} requests as {setting} allows. Try again later."
            )),
            Refusal::Share => Problem::share_used(format!(
                "This {holder} has its share of the concurrent {kind} requests that {setting} allows. Try again \
                 after the time in `Retry-After`."
            )),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "client address",
            Self::Tenant(_) => "tenant",
        })
    }
}

/// Admits a request within the limits of its route.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let context = request.extensions().get::<RequestContext>();
    let client =
        context.ok_or_else(|| Problem::internal("a route is mounted without the router's layers"))?.client;
    let admitted = admission.take(Holder::Client(client.into()))?;
    request.extensions_mut().insert(admitted.clone());
    let response = match admission.timeout {
        None => next.run(request).await,
        Some(timeout) => tokio::time::timeout(timeout, next.run(request))
            .await
            .map_err(|_| Problem::unavailable(format!("a request took longer than {timeout:?}")))?,
    };
    admitted.held_by(response)
}

impl Admission {
    fn take(&self, holder: Holder) -> Result<Admitted, Problem> {
        let refused = |refusal| self.kind.refuse(refusal, holder);
        let place = self.places.take(holder, 1).map_err(refused)?;
        let body_bytes = self.body_bytes.take(holder, 0).map_err(refused)?;
        Ok(Admitted { kind: self.kind, taken: Arc::new(Mutex::new(Taken { place, body_bytes })) })
    }
}

impl Admitted {
    /// Counts the request as one of a tenant, whose credentials it has.
    ///
    /// # Errors
    /// The tenant has its share of the places or bytes.
    pub(crate) fn belongs_to(&self, tenant_id: TenantId) -> Result<(), Problem> {
        let holder = Holder::Tenant(tenant_id);
        let mut taken = self.taken();
        taken.place.hand_over(holder).map_err(|refusal| self.kind.refuse(refusal, holder))?;
        taken.body_bytes.hand_over(holder).map_err(|refusal| too_many_bytes(refusal, holder))
    }

    /// Counts bytes of a body that are held in memory.
    ///
    /// # Errors
    /// All requests, or those of the same holder, have too many.
    pub(crate) fn hold_bytes(&self, count: usize) -> Result<(), Problem> {
        let mut taken = self.taken();
        let holder = taken.body_bytes.holder();
        taken.body_bytes.grow(count).map_err(|refusal| too_many_bytes(refusal, holder))
    }

    /// Returns the response, which keeps the place and the bytes of its body until the client has read it, if it is
    /// large.
    fn held_by(self, response: Response) -> Result<Response, Problem> {
        let length = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        // A small answer costs less than the connection.
        let is_small = length.is_some_and(|length| length <= PIECE_BYTES);
        if is_small || response.extensions().get::<KeepsNoPlace>().is_some() {
            return Ok(response);
        }
        // The body of the request is not in memory any more.
        self.taken().body_bytes.set(0);
        self.hold_bytes(length.unwrap_or_default())?;
        Ok(response.map(|body| Body::new(HeldBody { body, is_streamed: length.is_none(), admitted: self })))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many_bytes(refusal: Refusal, holder: Holder) -> Problem {
    metrics::counter!("hooksentry_http_refused_total", "limit" => "body_bytes").increment(1);
    match refusal {
        Refusal::Exhausted => Problem::overloaded(
            "The service holds as many bytes of bodies in memory as HOOKSENTRY_BODY_BYTES allows. Try again later."
                .to_owned(),
        ),
        Refusal::Share => Problem::share_used(format!(
            "This {holder} has its share of the bytes of bodies that HOOKSENTRY_BODY_BYTES allows in memory. Try again \
             after the time in `Retry-After`."
        )),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let admitted = parts.extensions.get::<Self>().cloned();
        admitted.ok_or_else(|| Problem::internal("a handler requires a place on a route without limits"))
    }
}

/// Body of an answer that keeps the place of its request.
struct HeldBody {
    body: Body,
    /// Whether the body is made while it is sent, so that only its last part is in memory.
    is_streamed: bool,
    admitted: Admitted,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if self.is_streamed
            && let Some(Ok(frame)) = &frame
        {
            // An answer that was begun is not refused any more.
            self.admitted.taken().body_bytes.set(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
impl Admitted {
    /// Admits the only request of a service that holds at most `body_bytes`.
    pub(crate) fn alone(body_bytes: usize) -> Self {
        tests::places(1, body_bytes).of_route(Permission::Read, None).take(tests::CLIENT).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use std::convert::Infallible;

    use axum::Router;
    use axum::body::to_bytes;
    use axum::extract::ConnectInfo;
    use axum::http::StatusCode;
    use axum::http::header::RETRY_AFTER;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{MethodRouter, get};
    use futures::{StreamExt, stream};
    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::api::http::client_address::TrustedProxies;
    use crate::api::http::layers;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));
    pub(super) const CLIENT: Holder = Holder::Tenant(TENANT);

    pub(super) fn places(requests: usize, body_bytes: usize) -> Places {
        Places::new(&RequestSettings {
            ingest_requests: requests,
            management_requests: requests,
            anonymous_requests: requests,
            body_bytes,
        })
    }

    fn router(handler: MethodRouter, admission: Admission) -> Router {
        Router::new()
            .route("/", handler.route_layer(from_fn_with_state(admission, admit)))
            .layer(from_fn_with_state(TrustedProxies::default(), layers::with_context))
    }

    async fn ask(router: &Router, client: u8) -> Response {
        let mut request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, client)), 1);
        request.extensions_mut().insert(ConnectInfo(client));
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_client_leaves_places_for_another_and_gives_them_back() {
        let (entered, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (enters, leaves) = (Arc::clone(&entered), Arc::clone(&leave));
        let handler = get(async move || {
            enters.add_permits(1);
            leaves.acquire().await.unwrap().forget();
        });
        let router = router(handler, places(3, 0).of_route(Permission::Anyone, None));
        let tasks = TaskTracker::new();
        let begin = |client| {
            let router = router.clone();
            tasks.spawn(async move { ask(&router, client).await.status() })
        };
        let mut requests = Vec::new();
        for client in [1, 1] {
            requests.push(begin(client));
            entered.acquire().await.unwrap().forget();
        }
        let refused = ask(&router, 1).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()[RETRY_AFTER], "1");
        assert!(text_of(refused).await.contains("HOOKSENTRY_ANONYMOUS_REQUESTS"));
        requests.push(begin(2));
        entered.acquire().await.unwrap().forget();
        assert_eq!(ask(&router, 3).await.status(), StatusCode::SERVICE_UNAVAILABLE, "all places are taken");
        leave.add_permits(4);
        for request in requests {
            assert_eq!(request.await.unwrap(), StatusCode::OK);
        }
        assert_eq!(ask(&router, 1).await.status(), StatusCode::OK, "the places were given back");
    }

    async fn text_of(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 9_999).await.unwrap().into()).unwrap()
    }

    #[tokio::test]
    async fn a_large_answer_keeps_its_place_and_its_bytes_until_it_was_read() {
        const LARGE: usize = 4 * PIECE_BYTES;
        let handler = || get(async || vec![b'x'; LARGE]);
        let places = places(1, LARGE);
        let router = router(handler(), places.of_route(Permission::Anyone, None));
        let answer = ask(&router, 1).await;
        assert_eq!(ask(&router, 2).await.status(), StatusCode::SERVICE_UNAVAILABLE, "no place");
        let of_other_kind = self::router(handler(), places.of_route(Permission::Read, None));
        assert_eq!(ask(&of_other_kind, 2).await.status(), StatusCode::SERVICE_UNAVAILABLE, "no bytes");
        assert_eq!(to_bytes(answer.into_body(), LARGE).await.unwrap().len(), LARGE);
        assert_eq!(ask(&router, 2).await.status(), StatusCode::OK);

        let stream = get(async || {
            Body::from_stream(stream::iter([Ok::<_, Infallible>(vec![b'x'; LARGE]), Ok(vec![b'x'; 10])]))
        });
        let router = self::router(stream, places.of_route(Permission::Anyone, None));
        let mut pieces = ask(&router, 1).await.into_body().into_data_stream();
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), LARGE);
        assert_eq!(ask(&of_other_kind, 2).await.status(), StatusCode::SERVICE_UNAVAILABLE, "no bytes");
        assert_eq!(ask(&router, 2).await.status(), StatusCode::SERVICE_UNAVAILABLE, "no place");
        drop(pieces);

        let shared = get(async || (axum::Extension(KeepsNoPlace), Bytes::from_static(&[b'x'; LARGE])));
        let router = self::router(shared, places.of_route(Permission::Anyone, None));
        let _unread = ask(&router, 1).await;
        assert_eq!(ask(&router, 2).await.status(), StatusCode::OK, "it uses no memory");
    }

    #[tokio::test]
    async fn a_request_counts_as_one_of_its_tenant_when_that_is_known() {
        let places = places(4, 0);
        let handler = get(async |admitted: Admitted| match admitted.belongs_to(TENANT) {
            Ok(()) => Ok(vec![b'x'; 2 * PIECE_BYTES]),
            Err(problem) => Err(problem),
        });
        let admission = Admission {
            body_bytes: self::places(1, 1 << 20).body_bytes,
            ..places.of_route(Permission::ApiKey, None)
        };
        let router = router(handler, admission);
        let answers = [ask(&router, 1).await, ask(&router, 2).await];
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(ask(&router, 3).await.status(), StatusCode::TOO_MANY_REQUESTS, "from any address");
        drop(answers);
        assert_eq!(ask(&router, 3).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_cancelled() {
        let admission = places(1, 0).of_route(Permission::Anyone, Some(Duration::from_millis(5)));
        let router = router(get(std::future::pending::<()>), admission);
        assert_eq!(ask(&router, 1).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text_of(ask(&router, 1).await).await.contains("not available"), "its place was given back");
    }
}
