//! Clients that stop reading what PostgreSQL sends them, as a paused process or a cut-off machine does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hooksentry::event_store::group_commit::Batch;
use hooksentry::event_store::{AttemptClaimBatch, ClaimedPayloadBatch, LogNotifier, log_reader};
use projections::LogPosition;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio_util::task::TaskTracker;

use super::attempt_claims::{Job, item};
use super::{Log, OwnServer};
use crate::harness::until;

/// More than the buffers between the server and a client hold.
const PAYLOAD_BYTES: usize = 1 << 20;
const CLAIMS: usize = 16;
/// Bytes of answers that the client still reads: much more than the claims without their payloads.
const STILL_READ: usize = 64 << 10;

/// Forwards connections to PostgreSQL, until it stops reading the answers.
struct StoppableProxy {
    options: PgConnectOptions,
    /// Bytes of answers that it still forwards.
    allowed: Arc<AtomicUsize>,
}

impl StoppableProxy {
    /// Forwards to the database of `url`, on a server that listens on a socket.
    async fn to(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().expect("a URL");
        let socket = server.get_socket().expect("a socket").join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(listener.local_addr().expect("an address").port())
            .username(server.get_username())
            .database(server.get_database().expect("a database"))
            .ssl_mode(PgSslMode::Disable);
        let allowed = Arc::new(AtomicUsize::new(usize::MAX));
        let forwarded = Arc::clone(&allowed);
        let connections = TaskTracker::new();
        connections.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.expect("the server");
                let (from_client, to_client) = tokio::io::split(client);
                let (from_server, to_server) = tokio::io::split(server);
                connections.spawn(forward(from_client, to_server, Arc::new(AtomicUsize::new(usize::MAX))));
                connections.spawn(forward(from_server, to_client, Arc::clone(&forwarded)));
            }
        });
        Self { options, allowed }
    }

    fn stop_reading_after(&self, bytes: usize) {
        self.allowed.store(bytes, Ordering::SeqCst);
    }
}

/// Forwards as many bytes as are allowed, and then keeps the connection open without reading it.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    allowed: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let left = allowed.load(Ordering::SeqCst);
        if left < length {
            return std::future::pending().await;
        }
        if left != usize::MAX {
            allowed.store(left - length, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// While a worker does not read the payloads of its claims, readers of the log go on.
#[tokio::test]
async fn claims_of_large_payloads_hold_no_reader_back() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let lead = log.lead().await;
    let jobs = log.release_jobs(lead.epoch(), CLAIMS).await;
    sqlx::query("UPDATE payloads SET delivered = decode(repeat('61', $1), 'hex')")
        .bind(i32::try_from(PAYLOAD_BYTES).expect("a length"))
        .execute(&log.pool)
        .await
        .expect("large payloads");

    let proxy = StoppableProxy::to(&log.database.url()).await;
    let options = PgPoolOptions::new().max_connections(1);
    let pool = options.connect_with(proxy.options.clone()).await.expect("the database");
    let mut connection = pool.acquire().await.expect("a connection");
    let claims = AttemptClaimBatch::new(LogNotifier::within_process());
    proxy.stop_reading_after(STILL_READ);
    let items: Vec<_> = jobs.iter().map(|job| item(job.claim(), "worker")).collect();
    let events: Vec<_> = jobs.iter().map(Job::claimed_event).collect();
    let reading = TaskTracker::new().spawn(async move {
        claims.commit(&mut connection, &items).await.expect("the claims");
        ClaimedPayloadBatch.commit(&mut connection, &events).await
    });

    let mut reader = log.pool.acquire().await.expect("a connection");
    until("a reader to read all claims", async || {
        let page =
            log_reader::read_after(&mut reader, LogPosition::default(), 1_000, &[]).await.expect("the log");
        let started = page.rows.iter().filter(|row| row.event_type == "DeliveryStarted").count();
        (started == CLAIMS && !page.held_back).then_some(())
    })
    .await;
    assert!(!reading.is_finished(), "the payloads are more than the worker has read");
    reading.abort();
    drop((reader, lead));
    log.discard().await;
}
