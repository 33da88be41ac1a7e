//! A connection to the API: HTTP/1.1, kept alive, one request at a time.
//!
//! The load generator shares the machine with what it measures, so what it costs is an error of the
//! measurement. Requests are rendered beforehand and written in one piece; of an answer only the status
//! and the body's length are looked at. Beside a general HTTP client this saves about 5 of 16 µs a
//! request, most of the rest being the kernel's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// An answer has at most so many headers.
const HEADERS_MAX: usize = 64;
/// The head of an answer has at most so many bytes, and its body too.
const BYTES_MAX: usize = 1 << 20;
/// Room that is made when it runs out.
const ROOM: usize = 4 << 10;

/// A connection. After an error it is of no use any more.
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Whether the other side keeps the connection.
    pub(super) kept: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    #[error("no connection")]
    NotConnected(#[source] io::Error),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("no answer in time")]
    Late,
    #[error("an answer that is not understood: {0}")]
    NotUnderstood(&'static str),
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, NoAnswer> {
        let stream = timeout(CONNECTED_WITHIN, TcpStream::connect(address))
            .await
            .map_err(|_| NoAnswer::NotConnected(io::ErrorKind::TimedOut.into()))?
            .map_err(NoAnswer::NotConnected)?;
        stream.set_nodelay(true).map_err(NoAnswer::NotConnected)?;
        Ok(Self { stream, received: BytesMut::with_capacity(ROOM) })
    }

    /// Sends a whole request and waits for the whole answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        let exchange = async {
            self.stream.write_all(request).await.map_err(NoAnswer::Broken)?;
            loop {
                if let Some(head) = parse_head(&self.received)? {
                    return self.read_body(head).await;
                }
                if self.received.len() > BYTES_MAX {
                    return Err(NoAnswer::NotUnderstood("its head does not end"));
                }
                self.read_more().await?;
            }
        };
        timeout(ANSWERED_WITHIN, exchange).await.map_err(|_| NoAnswer::Late)?
    }

    async fn read_body(&mut self, head: Head) -> Result<Answer, NoAnswer> {
        self.received.advance(head.bytes);
        while self.received.len() < head.body_bytes {
            self.read_more().await?;
        }
        let body = self.received.split_to(head.body_bytes).freeze();
        Ok(Answer { status: head.status, body, kept: head.kept })
    }

    async fn read_more(&mut self) -> Result<(), NoAnswer> {
        self.received.reserve(ROOM);
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(NoAnswer::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(NoAnswer::Broken(error)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    body_bytes: usize,
    kept: bool,
}

/// The head of an answer, if it is there already.
fn parse_head(received: &[u8]) -> Result<Option<Head>, NoAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(NoAnswer::NotUnderstood("it is not HTTP/1.1")),
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head { bytes, status, body_bytes: 0, kept: true };
    let mut told = matches!(status, 204 | 304);
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value
                .parse()
                .ok()
                .filter(|bytes| *bytes <= BYTES_MAX)
                .ok_or(NoAnswer::NotUnderstood("its length is no length"))?;
            told = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.kept = !value.eq_ignore_ascii_case("close");
        }
    }
    if told { Ok(Some(head)) } else { Err(NoAnswer::NotUnderstood("it does not tell its length")) }
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
    async fn answers_come_in_pieces_and_one_after_the_other() {
        let address = server(vec![
            vec!["HTTP/1.1 202 Accepted\r\nContent-", "Length: 5\r\n\r", "\nhe", "llo"],
            vec!["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"],
        ])
        .await;
        let mut connection = Connection::open(address).await.unwrap();
        let answer = connection.exchange(b"ping").await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.kept), (202, &b"hello"[..], true));
        let answer = connection.exchange(b"ping").await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.kept), (204, &b""[..], false));
        assert!(matches!(connection.exchange(b"ping").await, Err(NoAnswer::Broken(_))));
    }

    #[tokio::test]
    async fn nobody_there_is_no_connection() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(Connection::open(free).await, Err(NoAnswer::NotConnected(_))));
    }

    #[test]
    fn an_answer_of_unknown_or_absurd_length_is_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(matches!(parse_head(head.as_bytes()), Err(NoAnswer::NotUnderstood(_))), "{head}");
        }
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
    }
}
