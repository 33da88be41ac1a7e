//! TLS: certificates, protocols, and broken handshakes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aggregates::attempt_outcome::Outcome;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::serve::Listener;
use hooksentry::worker::outbound_client::{OutboundClient, OutboundSettings};
use hooksentry::worker::request::Attempted;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::receiver::{Identity, Receiver};
use super::{TIMEOUT_LONG, client, request, settings};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn trusting(identity: &Identity) -> OutboundClient {
    let settings = OutboundSettings { extra_roots: vec![identity.root()], ..settings(TIMEOUT_LONG) };
    OutboundClient::new(&settings).unwrap()
}

fn https(receiver: &Receiver) -> String {
    format!("https://localhost:{}/", receiver.address.port())
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted() {
    let identity = Identity::of("localhost");
    let mut receiver = Receiver::answering_tls(&identity, OK).await;
    let report = trusting(&identity).attempt(&request(&https(&receiver))).await.report;
    assert_eq!(report.outcome, Outcome::Succeeded, "{:?}", report.detail);
    assert_eq!(receiver.request().await.body, br#"{"a":1}"#);
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_failure() {
    let mut receiver = Receiver::answering_tls(&Identity::of("localhost"), OK).await;
    let report = client(TIMEOUT_LONG).attempt(&request(&https(&receiver))).await.report;
    assert_eq!(report.outcome, Outcome::Tls, "{:?}", report.detail);
    assert!(report.detail.unwrap().contains("UnknownIssuer"));
    // The name may have an IPv6 address as well.
    assert!(report.address.unwrap().starts_with(&receiver.address.to_string()));
    assert!(receiver.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_tls_failure() {
    let identity = Identity::of("other.example");
    let mut receiver = Receiver::answering_tls(&identity, OK).await;
    let report = trusting(&identity).attempt(&request(&https(&receiver))).await.report;
    assert_eq!(report.outcome, Outcome::Tls, "{:?}", report.detail);
    assert!(receiver.requests.try_recv().is_err());
}

/// The TLS library lists every name of the certificate.
#[tokio::test]
async fn a_certificate_for_many_other_names_makes_no_long_report() {
    let names: Vec<String> = (0..200).map(|number| format!("name-{number}.example.com")).collect();
    let identity = Identity::of_names(names);
    let receiver = Receiver::answering_tls(&identity, OK).await;
    let report = trusting(&identity).attempt(&request(&https(&receiver))).await.report;
    assert_eq!(report.outcome, Outcome::Tls, "{:?}", report.detail);
    let length = report.detail.unwrap().chars().count();
    assert!((100..=500).contains(&length), "{length}");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_a_tls_failure() {
    let receiver = Receiver::scripted(|mut connection, _| async move {
        tokio::io::AsyncWriteExt::write_all(&mut connection, b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        std::future::pending().await
    })
    .await;
    let report = client(TIMEOUT_LONG).attempt(&request(&https(&receiver))).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Tls, None));
    assert_eq!(report.detail.as_deref(), Some("the server does not use TLS on this port"));
}

#[tokio::test]
async fn a_port_that_closes_during_the_handshake_is_a_tls_failure() {
    let receiver = Receiver::scripted(|mut connection, _| async move {
        let mut hello = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut connection, &mut hello).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut connection).await?;
        // Reading to the end keeps the close from becoming a reset.
        tokio::io::copy(&mut connection, &mut tokio::io::sink()).await.map(|_| ())
    })
    .await;
    let report = client(TIMEOUT_LONG).attempt(&request(&https(&receiver))).await.report;
    assert_eq!(report.outcome, Outcome::Tls, "{:?}", report.detail);
}

#[tokio::test]
async fn tls_on_a_plain_port_is_a_protocol_failure() {
    let identity = Identity::of("localhost");
    let receiver = Receiver::answering_tls(&identity, OK).await;
    let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
    assert_eq!(report.outcome, Outcome::Protocol, "{:?}", report.detail);
}

/// A TLS socket for axum.
struct TlsListener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<AtomicUsize>,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.socket.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                self.connections.fetch_add(1, Ordering::Relaxed);
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

#[tokio::test]
async fn http_2_is_used_over_one_connection_if_it_is_offered() {
    let identity = Identity::of("localhost");
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let router = Router::new().fallback(|request: Request| async move {
        let status = request
            .headers()
            .get("x-hooksentry-signature")
            .map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK);
        (status, format!("{:?}", request.version()))
    });
    let mut tasks = JoinSet::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let acceptor = identity.acceptor(&[b"h2", b"http/1.1"]);
    let listener = TlsListener { socket, acceptor, connections: Arc::clone(&connections) };
    tasks.spawn(async move { axum::serve(listener, router).await });

    let client = trusting(&identity);
    for _ in 0..3 {
        let Attempted { report, response } =
            client.attempt(&request(&format!("https://localhost:{port}/"))).await;
        assert_eq!(report.outcome, Outcome::Succeeded, "{:?}", report.detail);
        assert_eq!(response.excerpt.as_deref(), Some("HTTP/2.0"));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn invalid_http_2_is_a_protocol_failure() {
    let identity = Identity::of("localhost");
    let acceptor = identity.acceptor(&[b"h2"]);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    let report = trusting(&identity).attempt(&request(&format!("https://localhost:{port}/"))).await.report;
    assert_eq!(report.outcome, Outcome::Protocol, "{:?}", report.detail);
}

#[tokio::test]
async fn a_reset_connection_is_a_protocol_failure() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            stream.readable().await.unwrap();
            // Closing with unread data makes the kernel send a reset.
            drop(stream);
        }
    });
    let report = client(TIMEOUT_LONG).attempt(&request(&url)).await.report;
    assert_eq!(report.outcome, Outcome::Protocol, "{:?}", report.detail);
}
