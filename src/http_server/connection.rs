//! One connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::activity::{Activity, ConnectionTimes, Expiry};
use super::answer_body::AnswerBody;
use super::stall::{StreamExecutor, until_stalled};

pub(super) struct Connection {
    pub(super) http: auto::Builder<StreamExecutor>,
    pub(super) times: ConnectionTimes,
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) stop: CancellationToken,
}

impl Connection {
    /// Serves the requests of the connection until its peer closes it, its time is over, or the server stops.
    pub(super) async fn serve(self, stream: TcpStream) {
        let Self { http, times, router, peer, stop } = self;
        let activity = Activity::new(times);
        let service = service_fn(|request: Request<Incoming>| {
            let active = activity.begin_request();
            let answer = answer(router.clone(), peer, request);
            async move { Ok::<_, Infallible>(answer.await.map(|body| AnswerBody::new(body, active))) }
        });
        let served = until_stalled(async {
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                served = connection.as_mut() => return served,
                expiry = activity.expired() => {
                    tracing::debug!(%peer, ?expiry, "closing a connection");
                    if expiry == Expiry::Silent {
                        return Ok(());
                    }
                }
                () = stop.cancelled() => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => served,
                () = activity.overdue() => Ok(()),
            }
        });
        match served.await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%peer, error, "a connection failed"),
            None => tracing::debug!(%peer, "closing a connection whose peer does not read"),
        }
    }
}

async fn answer(router: Router, peer: SocketAddr, request: Request<Incoming>) -> Response {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    match router.oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
