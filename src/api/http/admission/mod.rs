//! Admission of requests, so that those of one kind, client or tenant leave places for the others.
//!
//! There are separate places for ingest, for management, and for requests without credentials. A request takes one for
//! its client before anything is looked up, and hands it over to the tenant as soon as the credentials are known. A
//! request that finds no place is refused: a queue in front of a busy service would only delay its responses. When a
//! webhook is refused because of overload, the answer is held back for a while, without a place: a source that sends again
//! at once would otherwise take the processors that deliver.
//!
//! The bytes of bodies that are held in memory are limited over all requests. A large answer keeps its place and its
//! bytes until the client has read it.

#[cfg(test)]
mod tests;

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
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::api::access::permissions::Permission;
use crate::api::http::problem::{Overload, Problem};
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
    /// For a page, which makes management requests itself.
    Dashboard,
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
    dashboard: SharedLimit<Holder>,
    body_bytes: SharedLimit<Holder>,
    ingest_refusals: HeldRefusals,
}

/// Refusals that are held back.
#[derive(Clone, Debug)]
struct HeldRefusals {
    delay: Duration,
    /// One for each of them; further ones are not held back.
    permits: Arc<Semaphore>,
}

/// Limits of the requests of a route.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    kind: RequestKind,
    places: SharedLimit<Holder>,
    body_bytes: SharedLimit<Holder>,
    /// `None`: no timeout.
    timeout: Option<Duration>,
    /// `None`: refusals are not held back.
    held_refusals: Option<HeldRefusals>,
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
            dashboard: places(RequestKind::Dashboard, settings.dashboard_requests),
            body_bytes: SharedLimit::new(settings.body_bytes, metrics::gauge!("hooksentry_http_body_bytes")),
            ingest_refusals: HeldRefusals {
                delay: settings.ingest_refusal_delay,
                permits: Arc::new(Semaphore::new(settings.ingest_requests)),
            },
        }
    }

    /// Returns the limits of a route with this permission.
    pub(crate) fn of_route(&self, permission: Permission, timeout: Option<Duration>) -> Admission {
        let (kind, places) = match permission {
            Permission::ApiKey => (RequestKind::Ingest, &self.ingest),
            Permission::Anyone => (RequestKind::Anonymous, &self.anonymous),
            _ => (RequestKind::Management, &self.management),
        };
        self.admission(kind, places, timeout)
    }

    /// Returns the limits of the dashboard's pages.
    pub(crate) fn of_dashboard(&self, timeout: Duration) -> Admission {
        self.admission(RequestKind::Dashboard, &self.dashboard, Some(timeout))
    }

    fn admission(
        &self,
        kind: RequestKind,
        places: &SharedLimit<Holder>,
        timeout: Option<Duration>,
    ) -> Admission {
        let held_refusals = (kind == RequestKind::Ingest).then(|| self.ingest_refusals.clone());
        Admission {
            kind,
            places: places.clone(),
            body_bytes: self.body_bytes.clone(),
            timeout,
            held_refusals,
        }
    }
}

impl RequestKind {
    fn label(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Management => "management",
            Self::Anonymous => "anonymous",
            Self::Dashboard => "dashboard",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Ingest => "HOOKSENTRY_INGEST_REQUESTS",
            Self::Management => "HOOKSENTRY_MANAGEMENT_REQUESTS",
            Self::Anonymous => "HOOKSENTRY_ANONYMOUS_REQUESTS",
            Self::Dashboard => "HOOKSENTRY_DASHBOARD_REQUESTS",
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
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let context = request.extensions().get::<RequestContext>();
    let client =
        context.ok_or_else(|| Problem::internal("a route is mounted without the router's layers"))?.client;
    let admitted = match admission.take(Holder::Client(client.into())) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            admission.hold_back().await;
            return Err(refusal);
        }
    };
    request.extensions_mut().insert(admitted.clone());
    let response = match admission.timeout {
        None => next.run(request).await,
        Some(timeout) => tokio::time::timeout(timeout, next.run(request))
            .await
            .map_err(|_| Problem::unavailable(format!("a request took longer than {timeout:?}")))?,
    };
    if response.extensions().get::<Overload>().is_some() {
        drop(admitted);
        admission.hold_back().await;
        return Ok(response);
    }
    admitted.held_by(response)
}

impl Admission {
    fn take(&self, holder: Holder) -> Result<Admitted, Problem> {
        let refused = |refusal| self.kind.refuse(refusal, holder);
        let place = self.places.take(holder, 1).map_err(refused)?;
        let body_bytes = self.body_bytes.take(holder, 0).map_err(refused)?;
        Ok(Admitted { kind: self.kind, taken: Arc::new(Mutex::new(Taken { place, body_bytes })) })
    }

    /// Waits before a refusal because of overload is sent, unless as many wait as may.
    async fn hold_back(&self) {
        if let Some(HeldRefusals { delay, permits }) = &self.held_refusals
            && let Ok(_permit) = permits.try_acquire()
        {
            sleep(*delay).await;
        }
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
