//! Receivers that are broken, slow or malicious. None of them may take more than the timeout of one attempt
//! and a bounded amount of memory.

use std::time::Duration;

use aggregates::attempt_outcome::Outcome;
use hooksentry::worker::request::Attempted;
use tokio::io::AsyncWriteExt;

use super::receiver::{Receiver, read_request};
use super::{TIMEOUT_LONG, TIMEOUT_SHORT, client, request};

/// Far more than hyper's buffer and both sockets' buffers hold, far less than an endless stream.
const BYTES_TAKEN_MAX: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn a_receiver_that_never_answers_times_out() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        read_request(&mut connection, &log).await?;
        std::future::pending().await
    })
    .await;
    let report = client(TIMEOUT_SHORT).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Timeout, None));
    assert_eq!(report.detail.as_deref(), Some("no answer within 1s"));
    assert_eq!(report.address, Some(receiver.address.to_string()));
    assert!(report.duration_ms >= 1000);
}

#[tokio::test]
async fn a_receiver_that_accepts_and_never_reads_times_out() {
    let receiver = Receiver::scripted(|connection, _| async move {
        let _open = connection;
        std::future::pending().await
    })
    .await;
    let large = hooksentry::worker::request::Request {
        body: vec![b' '; 16 * 1024 * 1024].into(),
        ..request(&receiver.url())
    };
    assert_eq!(client(TIMEOUT_SHORT).attempt(&large).await.report.outcome, Outcome::Timeout);
}

#[tokio::test]
async fn headers_that_arrive_slowly_do_not_extend_the_deadline() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        read_request(&mut connection, &log).await?;
        connection.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
        loop {
            connection.write_all(b"a").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let report = client(TIMEOUT_SHORT).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Timeout, None));
}

#[tokio::test]
async fn endless_headers_are_refused_early() {
    for endless in ["x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", "aaaaaaaaaaaaaaaa"] {
        let receiver = Receiver::scripted(move |mut connection, log| async move {
            read_request(&mut connection, &log).await?;
            connection.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            log.write_forever(connection, endless.repeat(100).as_bytes()).await
        })
        .await;
        let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
        assert_eq!((report.outcome, report.status), (Outcome::Protocol, None), "{:?}", report.detail);
        assert!(receiver.bytes_written() < BYTES_TAKEN_MAX);
    }
}

#[tokio::test]
async fn endless_informational_responses_end_at_the_deadline() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        read_request(&mut connection, &log).await?;
        log.write_forever(connection, b"HTTP/1.1 100 Continue\r\n\r\n").await
    })
    .await;
    let report = client(TIMEOUT_SHORT).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Timeout, None));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_protocol_failure() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "\0\0\0\0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(answer).await;
        let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
        assert_eq!((report.outcome, report.status), (Outcome::Protocol, None), "{answer:?}");
        let detail = report.detail.unwrap();
        assert!(detail.starts_with("the answer is not valid HTTP: "), "{answer:?}: {detail}");
        assert_eq!(report.address, Some(receiver.address.to_string()));
    }
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_a_protocol_failure() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let receiver = Receiver::scripted(move |mut connection, log| async move {
            read_request(&mut connection, &log).await?;
            connection.write_all(answer.as_bytes()).await
        })
        .await;
        let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
        assert_eq!((report.outcome, report.status), (Outcome::Protocol, None), "{answer:?}");
        assert_eq!(
            report.detail.as_deref(),
            Some("the connection was closed before the answer was complete"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_status_counts() {
    for (status, outcome) in [("200 OK", Outcome::Succeeded), ("500 Oops", Outcome::RefusedStatus)] {
        let receiver = Receiver::scripted(move |mut connection, log| async move {
            read_request(&mut connection, &log).await?;
            connection.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
            log.write_forever(connection, &[b'a'; 4096]).await
        })
        .await;
        let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
        assert_eq!(report.outcome, outcome);
        assert_eq!(response.excerpt, Some("a".repeat(2048)));
        assert!(receiver.bytes_written() < BYTES_TAKEN_MAX);
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_is_abandoned() {
    for (status, outcome) in [("200 OK", Outcome::Succeeded), ("500 Oops", Outcome::RefusedStatus)] {
        let receiver = Receiver::scripted(move |mut connection, log| async move {
            read_request(&mut connection, &log).await?;
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\n");
            connection.write_all(head.as_bytes()).await?;
            loop {
                connection.write_all(b"a").await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let Attempted { report, response } = client(TIMEOUT_SHORT).attempt(&request(&receiver.url())).await;
        assert_eq!(report.outcome, outcome);
        assert_eq!(report.status, status[..3].parse().ok());
        assert_eq!(report.detail.as_deref(), Some("the body of the answer did not end in time"));
        assert!(response.excerpt.unwrap().starts_with('a'));
    }
}

/// Otherwise a receiver that answers 200 at once and then sends a byte at a time would occupy an attempt for the whole
/// timeout, and would never be suspended.
#[tokio::test]
async fn a_body_that_arrives_slowly_occupies_a_small_part_of_the_timeout() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        read_request(&mut connection, &log).await?;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
        loop {
            connection.write_all(b"a").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let report = client(Duration::from_secs(100)).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Succeeded, Some(200)));
    assert_eq!(report.detail.as_deref(), Some("the body of the answer did not end in time"));
    assert!(report.duration_ms < 20_000, "{}", report.duration_ms);
}

#[tokio::test]
async fn the_status_counts_when_the_body_is_cut_off() {
    for (status, outcome) in [("200 OK", Outcome::Succeeded), ("500 Oops", Outcome::RefusedStatus)] {
        let receiver = Receiver::scripted(move |mut connection, log| async move {
            read_request(&mut connection, &log).await?;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\nhalf");
            connection.write_all(answer.as_bytes()).await
        })
        .await;
        let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
        assert_eq!(report.outcome, outcome);
        assert_eq!(response.excerpt.as_deref(), Some("half"));
        assert_eq!(report.detail.as_deref(), Some("the body of the answer was cut off"));
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_failure() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let report = client(TIMEOUT_LONG).attempt(&request(&format!("http://{address}/"))).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Connect, None));
    assert_eq!(report.detail.as_deref(), Some("connection refused"));
    assert_eq!(report.address, Some(address.to_string()));
}
