//! Minimal HTTP/1.1 connection of the load generator: keep-alive, one request at a time.
//!
//! The load generator shares the machine with the service, so its CPU time is an error of the measurement.
//! Requests are rendered in advance and written in one piece; of an answer only the status, the length of the
//! body and `connection` are parsed. Compared with a general HTTP client this saves about 5 of 16 µs of CPU a
//! request (measured); most of the rest is spent in the kernel. Everything else uses `hooksentry_client`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound of the headers of an answer.
const HEADERS_MAX: usize = 64;
/// Upper bound of the head of an answer, and of its body, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Bytes by which the receive buffer grows.
const BUFFER_BYTES: usize = 4 << 10;

/// Connection, which must be dropped after an error.
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

/// Answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) keep_alive: bool,
}

/// Error of a request that was not answered.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("timeout")]
    Timeout,
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
}

impl Connection {
    /// Opens a connection to `address`.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, ConnectionError> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| ConnectionError::Connect(io::ErrorKind::TimedOut.into()))?
            .map_err(ConnectionError::Connect)?;
        stream.set_nodelay(true).map_err(ConnectionError::Connect)?;
        Ok(Self { stream, received: BytesMut::with_capacity(BUFFER_BYTES) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, ConnectionError> {
        let exchange = async {
            self.stream.write_all(request).await.map_err(ConnectionError::Broken)?;
            loop {
                if let Some(head) = parse_head(&self.received)? {
                    return self.read_body(head).await;
                }
                if self.received.len() > BYTES_MAX {
                    return Err(ConnectionError::Malformed("its head is too long"));
                }
                self.read_more().await?;
            }
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| ConnectionError::Timeout)?
    }

    async fn read_body(&mut self, head: Head) -> Result<Answer, ConnectionError> {
        self.received.advance(head.bytes);
        while self.received.len() < head.body_bytes {
            self.read_more().await?;
        }
        let body = self.received.split_to(head.body_bytes).freeze();
        Ok(Answer { status: head.status, body, keep_alive: head.keep_alive })
    }

    async fn read_more(&mut self) -> Result<(), ConnectionError> {
        self.received.reserve(BUFFER_BYTES);
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(ConnectionError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(ConnectionError::Broken(error)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    body_bytes: usize,
    keep_alive: bool,
}

/// Parses the head of an answer. Returns `None` while it is incomplete.
fn parse_head(received: &[u8]) -> Result<Option<Head>, ConnectionError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ConnectionError::Malformed("it is not HTTP/1.1")),
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head { bytes, status, body_bytes: 0, keep_alive: true };
    let mut has_length = matches!(status, 204 | 304);
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value
                .parse()
                .ok()
                .filter(|bytes| *bytes <= BYTES_MAX)
                .ok_or(ConnectionError::Malformed("its length is invalid"))?;
            has_length = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.eq_ignore_ascii_case("close");
        }
    }
    if has_length { Ok(Some(head)) } else { Err(ConnectionError::Malformed("it has no length")) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// Answers each request it reads with the next of `pieces`, then closes.
    async fn server(answers: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            for pieces in answers {
                stream.read_exact(&mut request).await.unwrap();
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_may_arrive_in_pieces() {
        let address = server(vec![
            vec!["HTTP/1.1 202 Accepted\r\nContent-", "Length: 5\r\n\r", "\nhe", "llo"],
            vec!["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"],
        ])
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        let answer = connection.exchange(b"ping").await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.keep_alive), (202, &b"hello"[..], true));
        let answer = connection.exchange(b"ping").await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.keep_alive), (204, &b""[..], false));
        assert!(matches!(connection.exchange(b"ping").await, Err(ConnectionError::Broken(_))));
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(Connection::open(free).await, Err(ConnectionError::Connect(_))));
    }

    #[test]
    fn an_answer_of_unknown_or_absurd_length_is_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(matches!(parse_head(head.as_bytes()), Err(ConnectionError::Malformed(_))), "{head}");
        }
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
    }
}
