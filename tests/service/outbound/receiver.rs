//! Scripted receivers that control every byte.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hooksentry::worker::name_lookup::{Addresses, LookupFailure, NameLookup};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) type Connection = Box<dyn Duplex>;
type Script = Arc<dyn Fn(Connection, Log) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).copied()
    }

    pub(super) fn headers(&self) -> BTreeMap<String, &str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    }
}

/// Requests that a script has received.
#[derive(Clone)]
pub(super) struct Log {
    requests: mpsc::UnboundedSender<Received>,
    bytes_written: Arc<AtomicUsize>,
}

impl Log {
    /// Writes repeatedly until the other side closes the connection.
    pub(super) async fn write_forever(&self, mut connection: Connection, chunk: &[u8]) -> io::Result<()> {
        loop {
            connection.write_all(chunk).await?;
            self.bytes_written.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    }
}

/// A server on loopback that runs one script for each connection. Its tasks end with it.
pub(super) struct Receiver {
    pub address: SocketAddr,
    pub requests: mpsc::UnboundedReceiver<Received>,
    connections: Arc<AtomicUsize>,
    bytes_written: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Runs a script, which gets each connection as it was accepted.
    pub(super) async fn scripted<F, R>(script: F) -> Self
    where
        F: Fn(Connection, Log) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(socket, None, Arc::new(move |connection, log| script(connection, log).boxed()))
    }

    /// Reads requests, and answers each with the same bytes.
    pub(super) async fn answering(answer: &'static str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(socket, None, answers(answer))
    }

    /// The same over TLS.
    pub(super) async fn answering_tls(identity: &Identity, answer: &'static str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(socket, Some(identity.acceptor(&[b"http/1.1"])), answers(answer))
    }

    fn serve(socket: TcpListener, tls: Option<TlsAcceptor>, script: Script) -> Self {
        let address = socket.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let bytes_written = Arc::new(AtomicUsize::new(0));
        let log = Log { requests: sender, bytes_written: Arc::clone(&bytes_written) };
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (script, tls, log) = (Arc::clone(&script), tls.clone(), log.clone());
                serving.spawn(async move {
                    let connection: Connection = match tls {
                        Some(tls) => Box::new(tls.accept(stream).await?),
                        None => Box::new(stream),
                    };
                    script(connection, log).await
                });
            }
        });
        Self { address, requests, connections, bytes_written, _tasks: tasks }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_written(&self) -> usize {
        self.bytes_written.load(Ordering::Relaxed)
    }

    pub(super) async fn request(&mut self) -> Received {
        self.requests.recv().await.unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

fn answers(answer: &'static str) -> Script {
    Arc::new(move |mut connection, log| {
        async move {
            loop {
                read_request(&mut connection, &log).await?;
                connection.write_all(answer.as_bytes()).await?;
            }
        }
        .boxed()
    })
}

/// Reads one request with a `Content-Length`, or without a body.
pub(super) async fn read_request(connection: &mut Connection, log: &Log) -> io::Result<Received> {
    let mut bytes = Vec::new();
    let head_length = loop {
        if connection.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut body = bytes.split_off(head_length);
    let mut received = Received { head: String::from_utf8(bytes).unwrap(), body: Vec::new() };
    let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    received.body = body;
    let _ = log.requests.send(received.clone());
    Ok(received)
}

/// A self-signed certificate.
pub(super) struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    pub(super) fn of(name: &str) -> Self {
        Self::of_names([name.to_owned()])
    }

    pub(super) fn of_names(names: impl Into<Vec<String>>) -> Self {
        Self(rcgen::generate_simple_self_signed(names).unwrap())
    }

    /// Certificate that a client has to trust.
    pub(super) fn root(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_der(self.0.cert.der()).unwrap()
    }

    pub(super) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config).into()
    }
}

/// A lookup that returns one answer after the other and repeats the last one. Counts its calls. No answer may be kept.
pub(super) struct Answers {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    pub asked: Mutex<Vec<String>>,
}

impl Answers {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().rev().map(parse).collect()),
            asked: Mutex::default(),
        })
    }
}

#[async_trait]
impl NameLookup for Answers {
    async fn lookup(&self, name: &str) -> Result<Addresses, LookupFailure> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        match answer {
            Some(addresses) => Ok(Addresses { addresses, lifetime: Duration::ZERO }),
            None => Err(LookupFailure::Unresolvable("no such name".to_owned())),
        }
    }
}
