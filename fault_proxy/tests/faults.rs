//! Each fault, as a client and a server see it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fault_proxy::{Direction, Fault, FaultProxy, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Long enough for a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in which nothing must arrive. Too short a time could only make a test pass that should fail.
const QUIET: Duration = Duration::from_millis(100);

/// Server that sends everything back, and reports the end of each connection.
struct Echo {
    address: SocketAddr,
    ended: mpsc::UnboundedReceiver<()>,
    _tasks: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ends, ended) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let ends = ends.clone();
                connections.spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    drop(stream);
                    let _ = ends.send(());
                });
            }
        });
        Self { address, ended, _tasks: tasks }
    }
}

async fn echo_behind_proxy() -> (Echo, FaultProxy) {
    let echo = Echo::start().await;
    let proxy = FaultProxy::start(echo.address).await.unwrap();
    (echo, proxy)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn send(stream: &mut TcpStream, byte: u8) {
    stream.write_all(&[byte]).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> u8 {
    timeout(WAIT_TIMEOUT, stream.read_u8()).await.expect("an answer in time").unwrap()
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.read_u8()).await.is_err()
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    timeout(WAIT_TIMEOUT, stream.read_u8()).await.expect("the end in time").is_err()
}

#[tokio::test]
async fn it_passes_bytes_and_the_end_of_the_connection() {
    let (mut echo, proxy) = echo_behind_proxy().await;
    let mut client = connect(&proxy).await;
    send(&mut client, 1).await;
    assert_eq!(receive(&mut client).await, 1);
    assert_eq!(proxy.connections(), 1);
    client.shutdown().await.unwrap();
    assert!(is_closed(&mut client).await);
    timeout(WAIT_TIMEOUT, echo.ended.recv()).await.expect("the end of the connection").unwrap();
}

#[tokio::test]
async fn swallowed_bytes_are_lost_and_later_ones_pass() {
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let (_echo, proxy) = echo_behind_proxy().await;
        let mut client = connect(&proxy).await;
        send(&mut client, 1).await;
        assert_eq!(receive(&mut client).await, 1);
        proxy.set(Scope::Existing, direction, Fault::Swallow);
        send(&mut client, 2).await;
        assert!(is_silent(&mut client).await);
        let mut other = connect(&proxy).await;
        send(&mut other, 3).await;
        assert_eq!(receive(&mut other).await, 3, "new connections are not concerned");
        proxy.heal();
        send(&mut client, 4).await;
        assert_eq!(receive(&mut client).await, 4, "{direction:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_swallowed_too() {
    let (mut echo, proxy) = echo_behind_proxy().await;
    let mut client = connect(&proxy).await;
    send(&mut client, 1).await;
    assert_eq!(receive(&mut client).await, 1);
    proxy.set(Scope::All, Direction::Both, Fault::Swallow);
    drop(client);
    assert!(timeout(QUIET, echo.ended.recv()).await.is_err());
    proxy.heal();
    timeout(WAIT_TIMEOUT, echo.ended.recv()).await.expect("the end of the connection").unwrap();
}

#[tokio::test]
async fn stalled_bytes_arrive_later() {
    let (_echo, proxy) = echo_behind_proxy().await;
    let mut client = connect(&proxy).await;
    send(&mut client, 1).await;
    assert_eq!(receive(&mut client).await, 1);
    proxy.set(Scope::All, Direction::ToServer, Fault::Stall);
    send(&mut client, 2).await;
    assert!(is_silent(&mut client).await);
    proxy.heal();
    assert_eq!(receive(&mut client).await, 2);
}

#[tokio::test]
async fn delayed_bytes_arrive_in_order() {
    let (_echo, proxy) = echo_behind_proxy().await;
    let mut client = connect(&proxy).await;
    proxy.set(Scope::All, Direction::ToClient, Fault::Delay(QUIET));
    send(&mut client, 0).await;
    // The connection takes over the fault when it is accepted or a moment later.
    receive(&mut client).await;
    let began = Instant::now();
    for byte in 1..=20 {
        send(&mut client, byte).await;
    }
    for byte in 1..=20 {
        assert_eq!(receive(&mut client).await, byte);
    }
    assert!(began.elapsed() >= QUIET);
}

#[tokio::test]
async fn a_cut_is_seen_on_both_sides() {
    let (mut echo, proxy) = echo_behind_proxy().await;
    let mut client = connect(&proxy).await;
    send(&mut client, 1).await;
    assert_eq!(receive(&mut client).await, 1);
    proxy.cut();
    assert!(is_closed(&mut client).await);
    timeout(WAIT_TIMEOUT, echo.ended.recv()).await.expect("the end of the connection").unwrap();
    let mut next = connect(&proxy).await;
    send(&mut next, 2).await;
    assert_eq!(receive(&mut next).await, 2);

    proxy.set(Scope::New, Direction::Both, Fault::Cut);
    let mut refused = connect(&proxy).await;
    assert!(is_closed(&mut refused).await);
    send(&mut next, 3).await;
    assert_eq!(receive(&mut next).await, 3);
}

#[tokio::test]
async fn an_abandoned_client_is_not_told_that_the_server_has_gone() {
    let (mut echo, proxy) = echo_behind_proxy().await;
    let other_server = Echo::start().await;
    let mut client = connect(&proxy).await;
    send(&mut client, 1).await;
    assert_eq!(receive(&mut client).await, 1);
    proxy.redirect(other_server.address);
    proxy.abandon();
    timeout(WAIT_TIMEOUT, echo.ended.recv()).await.expect("the end of the connection").unwrap();
    send(&mut client, 2).await;
    assert!(is_silent(&mut client).await);
    let mut next = connect(&proxy).await;
    send(&mut next, 3).await;
    assert_eq!(receive(&mut next).await, 3);
}
