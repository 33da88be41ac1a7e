//! Attacks of a stranger, who has no account.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ADDRESS;
use crate::neighbour::client_at;

/// Connections at once. The attacker and the program share the limit of open files of this machine's processes.
const CONNECTIONS: usize = 800;
const UNREAD_CONNECTIONS: usize = 200;
const GUESSES_AT_ONCE: usize = 100;
/// Pause before a connection is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Holds connections on which nothing but `first` is sent, and opens those again that the server closes.
pub(super) fn hold_connections(tasks: &mut JoinSet<()>, base: &str, first: &'static [u8]) {
    for _ in 0..CONNECTIONS {
        let address = address_of(base);
        tasks.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await
                    && stream.write_all(first).await.is_ok()
                {
                    // Until the server closes it.
                    let mut answer = [0; 256];
                    while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
                }
                sleep(AGAIN_AFTER).await;
            }
        });
    }
}

/// Sends logins whose bodies never end.
pub(super) fn send_slow_bodies(tasks: &mut JoinSet<()>, base: &str) {
    for _ in 0..CONNECTIONS {
        let address = address_of(base);
        tasks.spawn(async move {
            loop {
                if let Ok(stream) = TcpStream::connect(&address).await {
                    send_slowly(stream).await;
                }
                sleep(AGAIN_AFTER).await;
            }
        });
    }
}

/// Returns when the server closes the connection.
async fn send_slowly(mut stream: TcpStream) {
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {ADDRESS}\r\n\
         Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n"
    );
    let mut written = stream.write_all(head.as_bytes()).await;
    while written.is_ok() {
        sleep(Duration::from_secs(1)).await;
        written = stream.write_all(b" ").await;
    }
}

/// Requests the largest file, and reads nothing.
pub(super) fn leave_answers_unread(tasks: &mut JoinSet<()>, base: &str) {
    for _ in 0..UNREAD_CONNECTIONS {
        let address = address_of(base);
        tasks.spawn(async move {
            loop {
                if let Ok(mut stream) = connect_with_small_buffer(&address).await {
                    let request = format!(
                        "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {ADDRESS}\r\n\r\n"
                    );
                    if stream.write_all(request.as_bytes()).await.is_ok() {
                        sleep(Duration::from_secs(60)).await;
                    }
                }
                sleep(AGAIN_AFTER).await;
            }
        });
    }
}

async fn connect_with_small_buffer(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let address = address.parse().map_err(std::io::Error::other)?;
    socket.connect(address).await
}

/// Logs in with emails and passwords that do not exist.
pub(super) fn guess_passwords(tasks: &mut JoinSet<()>, base: &str) {
    let Ok(client) = client_at(ADDRESS) else { return };
    for number in 0..GUESSES_AT_ONCE {
        let (client, url) = (client.clone(), format!("{base}/api/v1/auth/login"));
        tasks.spawn(async move {
            for guess in 0_u64.. {
                let email = format!("{number}-{guess}@stranger.example");
                // Each guess seems to come from another address, so that only the shared limits remain.
                let address = format!("203.0.{}.{}", number % 256, guess % 256);
                let body = json!({ "email": email, "password": "a wrong password" });
                let request = client.post(&url).header("x-forwarded-for", address).json(&body);
                drop(request.send().await);
            }
        });
    }
}

fn address_of(base: &str) -> String {
    base.trim_start_matches("http://").to_owned()
}
