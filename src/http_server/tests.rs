use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::get;
use futures::stream;
use h2::client::SendRequest;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

/// Time within which what a test waits for must happen, on a machine that is busy with other tests.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_secs(3_600);
/// Times of which none is reached.
const NEVER: ConnectionTimes =
    ConnectionTimes { head: LATE, idle: LATE, age: LATE, close: LATE, drop: LATE, piece: LATE };

const LIMITS: ConnectionLimits =
    ConnectionLimits { connections_max: 100, connections_per_peer_max: 100, unlimited_peers: Vec::new() };

struct Started {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

async fn start_with(limits: ConnectionLimits, times: ConnectionTimes, router: Router) -> Started {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "A_SETTING").await.unwrap();
    let (address, stop, tasks) =
        (listener.local_addr().unwrap(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(Server::new(limits, times, router, stop.clone()).serve(listener));
    tasks.close();
    Started { address, stop, tasks }
}

async fn start(times: ConnectionTimes, router: Router) -> Started {
    start_with(LIMITS, times, router).await
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

impl Started {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens an HTTP/2 connection that may receive `window` bytes of each answer.
    async fn connect_http2(&self, window: u32) -> (SendRequest<Bytes>, TaskTracker) {
        let mut builder = h2::client::Builder::new();
        let (client, connection) =
            builder.initial_window_size(window).handshake(self.connect().await).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        tasks.close();
        (client, tasks)
    }
}

/// Reads until the server closes the connection.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // The connection may also be reset, if not everything that was sent was read.
    let _ = timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the end of the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Sends a request for `path` on an HTTP/2 connection.
async fn request(client: &SendRequest<Bytes>, path: &str) -> h2::client::ResponseFuture {
    let mut client = client.clone().ready().await.unwrap();
    client.send_request(Request::get(format!("http://a{path}")).body(()).unwrap(), true).unwrap().0
}

/// Returns a handler of an endless answer, which signals its end.
fn endless() -> (axum::routing::MethodRouter, CancellationToken) {
    let ended = CancellationToken::new();
    let handler_ended = ended.clone();
    let handler = async move || {
        let guard = handler_ended.clone().drop_guard();
        Body::from_stream(stream::repeat_with(move || {
            let _held = &guard;
            Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 100_000]))
        }))
    };
    (get(handler), ended)
}

#[tokio::test]
async fn a_handler_receives_the_address_of_the_peer() {
    let whoami = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() });
    let server = start(NEVER, Router::new().route("/", whoami)).await;
    let mut stream = server.connect().await;
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let text = answer(&mut stream).await;
    assert!(text.ends_with(&stream.local_addr().unwrap().to_string()), "{text}");
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_the_server_stops() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
        get(move || async move {
            asked.notify_one();
            go.notified().await;
            "done"
        })
    };
    let server = start(NEVER, Router::new().route("/", handler)).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    send(&mut busy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    asked.notified().await;
    server.stop.cancel();
    // No connection is accepted, and idle connections are closed.
    assert_eq!(answer(&mut idle).await, "");
    go.notify_one();
    assert!(answer(&mut busy).await.ends_with("done"));
    timeout(WAIT_TIMEOUT, server.tasks.wait()).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = start(ConnectionTimes { head: SOON, ..NEVER }, hello()).await;
    for beginning in ["", "G", "GET / HTTP/1.1\r\nHost:", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        send(&mut stream, beginning).await;
        let text = answer(&mut stream).await;
        assert!(!text.starts_with("HTTP/1.1 200"), "{beginning:?}: {text}");
    }
}

#[tokio::test]
async fn a_connection_is_closed_when_it_is_idle_or_old() {
    for times in [ConnectionTimes { idle: SOON, ..NEVER }, ConnectionTimes { age: SOON, ..NEVER }] {
        let server = start(times, hello()).await;
        let (client, connection) = server.connect_http2(1 << 16).await;
        // The connection may be old before the request arrives.
        let _ = request(&client, "/").await.await;
        // The server does not wait for the client to drop its half of the connection.
        timeout(WAIT_TIMEOUT, connection.wait()).await.expect("the end of the connection");

        let mut stream = server.connect().await;
        send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        answer(&mut stream).await;
    }
}

#[tokio::test]
async fn a_request_in_progress_is_answered_on_an_old_connection() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
        get(move || async move {
            asked.notify_one();
            go.notified().await;
            "done"
        })
    };
    let router = Router::new().route("/wait", handler).merge(hello());
    let server = start(ConnectionTimes { age: SOON * 10, ..NEVER }, router).await;
    let mut busy = server.connect().await;
    send(&mut busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    asked.notified().await;
    let mut younger = server.connect().await;
    send(&mut younger, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer(&mut younger).await.ends_with("hello"), "it was closed because of its age");
    go.notify_one();
    assert!(answer(&mut busy).await.ends_with("done"));
}

#[tokio::test]
async fn connections_of_one_peer_beyond_its_limit_are_refused() {
    let limits = ConnectionLimits { connections_per_peer_max: 2, ..LIMITS };
    let server = start_with(limits.clone(), NEVER, hello()).await;
    let exchange = async |stream: &mut TcpStream| {
        send(stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        String::from_utf8(line.into()).unwrap()
    };
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert_eq!(exchange(&mut first).await, "HTTP/1.1 200");
    assert_eq!(exchange(&mut second).await, "HTTP/1.1 200");
    let refusal = answer(&mut server.connect().await).await;
    assert!(refusal.starts_with("HTTP/1.1 429") && refusal.contains("\r\nRetry-After: 1\r\n"), "{refusal}");
    assert!(refusal.contains("HOOKSENTRY_CONNECTIONS_PER_PEER"), "{refusal}");

    drop(first);
    let deadline = tokio::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        let mut third = server.connect().await;
        let _ = third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        if answer(&mut third).await.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place of a closed connection stays taken");
    }

    let proxies = vec![IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))];
    let server = start_with(ConnectionLimits { unlimited_peers: proxies, ..limits }, NEVER, hello()).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = server.connect().await;
        assert_eq!(exchange(&mut stream).await, "HTTP/1.1 200");
        streams.push(stream);
    }
}

#[tokio::test]
async fn an_answer_that_the_peer_does_not_read_is_given_up() {
    let times = ConnectionTimes { piece: SOON, ..NEVER };
    let (handler, ended) = endless();
    let server = start(times, Router::new().route("/", handler)).await;
    let mut stream = server.connect().await;
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    timeout(WAIT_TIMEOUT, ended.cancelled()).await.expect("the end of the answer");

    let (handler, ended) = endless();
    let router = Router::new().route("/endless", handler).route("/empty", get(async || ()));
    let server = start(times, router).await;
    let (client, _connection) = server.connect_http2(0).await;
    let stalled = request(&client, "/endless").await.await.unwrap();
    timeout(WAIT_TIMEOUT, ended.cancelled()).await.expect("the end of the answer");
    // Only the one answer is given up, and not what else is requested on the connection.
    assert_eq!(request(&client, "/empty").await.await.unwrap().status(), 200);
    let mut body = stalled.into_body();
    let reset = timeout(WAIT_TIMEOUT, body.data()).await.unwrap().unwrap();
    assert!(reset.unwrap_err().is_reset());
}

#[tokio::test]
async fn an_answer_that_the_peer_reads_slowly_enough_is_sent_whole() {
    let large = Bytes::from(vec![b'x'; 300_000]);
    let sent = large.clone();
    let router = Router::new().route("/", get(async move || sent));
    let server = start(ConnectionTimes { piece: SOON * 100, ..NEVER }, router).await;
    let (client, _connection) = server.connect_http2(1_000).await;
    let mut body = request(&client, "/").await.await.unwrap().into_body();
    let mut received = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        received.extend_from_slice(&data);
    }
    assert_eq!(received, large);
}

#[tokio::test]
async fn a_port_in_use_is_named_in_one_sentence() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "A_SETTING").await.unwrap();
    let address = first.local_addr().unwrap();
    let problem = bind(address, "A_SETTING").await.unwrap_err().to_string();
    assert!(problem.starts_with(&format!("{address} is in use by another program")), "{problem}");
    assert!(problem.ends_with("A_SETTING"), "{problem}");
}
