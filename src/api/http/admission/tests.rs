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
use crate::api::http::layers;
use crate::api::http::request_context::ContextSource;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
pub(super) const CLIENT: Holder = Holder::Tenant(TENANT);

pub(super) fn places(requests: usize, body_bytes: usize) -> Places {
    Places::new(&RequestSettings {
        ingest_requests: requests,
        ingest_delay: Duration::from_secs(1),
        ingest_waiting: requests,
        ingest_refusal_delay: Duration::ZERO,
        management_requests: requests,
        anonymous_requests: requests,
        dashboard_requests: requests,
        body_bytes,
    })
}

fn router(handler: MethodRouter, admission: Admission) -> Router {
    Router::new()
        .route("/", handler.route_layer(from_fn_with_state(Arc::new(admission), admit)))
        .layer(from_fn_with_state(ContextSource::default(), layers::with_context))
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
