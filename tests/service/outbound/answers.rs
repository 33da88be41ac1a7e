//! Content of requests, and the reports of regular responses.

use std::time::Duration;

use aggregates::attempt_outcome::{Outcome, RetryAfter};
use aggregates::destination::AuthType;
use hooksentry::worker::request::Attempted;
use serde_json::json;

use super::receiver::Receiver;
use super::{SECRET, TIMEOUT_LONG, client, request, with_credentials};

#[tokio::test]
async fn the_body_arrives_byte_for_byte_and_the_library_accepts_its_signature() {
    let mut receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let body = "{ \"ü\" :1.00000000000000000001,\n\n\"a\":\"\\u0000\"}\r\n";
    let request = hooksentry::worker::request::Request {
        body: body.into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..request(&receiver.url())
    };
    let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request).await;
    assert_eq!((report.outcome, report.status), (Outcome::Succeeded, Some(200)));
    assert_eq!(response.excerpt.as_deref(), Some("ok"));
    assert_eq!(report.address, Some(receiver.address.to_string()));
    assert_eq!(report.detail, None);

    let received = receiver.request().await;
    assert!(received.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", received.head);
    assert_eq!(received.body, body.as_bytes());
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", concat!("HookSentry/", env!("CARGO_PKG_VERSION"))),
        ("x-hooksentry-event-id", "00000000-0000-0000-0000-00000198c5a2"),
        ("x-hooksentry-attempt", "3"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("webhook-id", "00000000-0000-0000-0000-00000198c5a2"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    assert!(hooksentry::worker::signature::verify(
        &SECRET.into(),
        body.as_bytes(),
        received.header("x-hooksentry-signature").unwrap()
    ));
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, received.header(name).unwrap().parse().unwrap());
    }
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&received.body, &headers).unwrap();
}

#[tokio::test]
async fn each_request_names_the_installations_that_the_webhook_passed_through() {
    let mut receiver = Receiver::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    for (hops, header) in [(0, "hooksentry"), (2, "hooksentry, hooksentry, hooksentry")] {
        let request = hooksentry::worker::request::Request { hops, ..request(&receiver.url()) };
        client(TIMEOUT_LONG).attempt(&request).await;
        assert_eq!(receiver.request().await.header("cdn-loop"), Some(header));
    }
}

#[tokio::test]
async fn credentials_are_sent_and_replace_no_header_of_the_delivery() {
    let mut receiver = Receiver::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let client = client(TIMEOUT_LONG);
    for (auth_type, credentials, name, value) in [
        (AuthType::ApiKey, json!({"headerName": "X-Key", "value": "k"}), "x-key", "k"),
        (AuthType::BearerToken, json!({"token": "t"}), "authorization", "Bearer t"),
        (AuthType::BasicAuth, json!({"username": "ä", "password": "b:c"}), "authorization", "Basic w6Q6Yjpj"),
    ] {
        let request = with_credentials(request(&receiver.url()), auth_type, credentials);
        assert_eq!(client.attempt(&request).await.report.outcome, Outcome::Succeeded);
        let received = receiver.request().await;
        assert_eq!(received.header(name), Some(value));
        assert_eq!(received.headers().len(), 13, "{:?}", received.headers());
    }
    assert_eq!(receiver.connections(), 1, "the connection is used again");

    let credentials = aggregates::outbound_credentials::OutboundCredentials::ApiKey {
        header_name: "X-HookSentry-Attempt".to_owned(),
        value: "7".into(),
    };
    let forged = hooksentry::worker::request::Request {
        credentials: Some(credentials.into()),
        ..request(&receiver.url())
    };
    assert_eq!(client.attempt(&forged).await.report.outcome, Outcome::Credentials);
    assert!(receiver.requests.try_recv().is_err());
}

#[tokio::test]
async fn every_2xx_is_a_success_and_nothing_else_is() {
    for (status, outcome) in [
        ("200 OK", Outcome::Succeeded),
        ("201 Created", Outcome::Succeeded),
        ("204 No Content", Outcome::Succeeded),
        ("299 Fine", Outcome::Succeeded),
        ("300 Choose", Outcome::RefusedStatus),
        ("304 Not Modified", Outcome::RefusedStatus),
        ("400 Bad", Outcome::RefusedStatus),
        ("401 Who", Outcome::RefusedStatus),
        ("404 Where", Outcome::RefusedStatus),
        ("410 Gone", Outcome::RefusedStatus),
        ("500 Oops", Outcome::RefusedStatus),
        ("999 What", Outcome::RefusedStatus),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").leak();
        let receiver = Receiver::answering(answer).await;
        let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
        assert_eq!(report.outcome, outcome, "{status}");
        assert_eq!(report.status, status[..3].parse().ok());
        assert_eq!(response.excerpt, None);
    }
}

#[tokio::test]
async fn informational_responses_are_skipped() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                  HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let receiver = Receiver::answering(answer).await;
    let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Succeeded, Some(202)));
}

#[tokio::test]
async fn a_redirect_is_recorded_and_not_followed() {
    let receiver = Receiver::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
    assert_eq!((report.outcome, report.status), (Outcome::RefusedStatus, Some(302)));
    assert_eq!(response.headers["location"], "http://169.254.169.254/latest/meta-data/");
    assert_eq!(report.address, Some(receiver.address.to_string()));

    let elsewhere = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 307 There\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url()).leak();
    let receiver = Receiver::answering(answer).await;
    let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::RefusedStatus, Some(307)));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn retry_after_of_an_overloaded_receiver_is_recorded() {
    let date = RetryAfter::At("1994-11-06T08:49:37Z".parse().unwrap());
    for (status, value, expected) in [
        ("429 Slow", "17", Some(RetryAfter::Seconds(17))),
        ("503 Busy", "Sun, 06 Nov 1994 08:49:37 GMT", Some(date)),
        ("503 Busy", "later", None),
        ("500 Oops", "17", None),
        ("200 OK", "17", None),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n").leak();
        let receiver = Receiver::answering(answer).await;
        let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
        assert_eq!(report.retry_after, expected, "{status} {value}");
        assert_eq!(response.headers["retry-after"], value);
    }
}

#[tokio::test]
async fn a_body_that_is_not_text_is_recorded_with_replacement_characters() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        super::receiver::read_request(&mut connection, &log).await?;
        let answer =
            b"HTTP/1.1 500 Oops\r\nx-request-id: r\xffq\r\ncontent-length: 6\r\n\r\na\xff\0\x1b\xc3\xa9";
        tokio::io::AsyncWriteExt::write_all(&mut connection, answer).await
    })
    .await;
    let Attempted { response, .. } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
    assert_eq!(response.excerpt.as_deref(), Some("a\u{fffd}\u{fffd}\u{1b}é"));
    assert_eq!(response.headers["x-request-id"], "r\u{fffd}q");
}

#[tokio::test]
async fn content_encodings_are_not_decoded() {
    let mut receiver = Receiver::answering(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 11\r\n\r\nnot gzipped",
    )
    .await;
    let Attempted { report, response } = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(response.excerpt.as_deref(), Some("not gzipped"));
    assert_eq!(receiver.request().await.header("accept-encoding"), None);
}

#[tokio::test]
async fn the_duration_is_measured() {
    let receiver = Receiver::scripted(|mut connection, log| async move {
        super::receiver::read_request(&mut connection, &log).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut connection, answer).await
    })
    .await;
    let report = client(TIMEOUT_LONG).attempt(&request(&receiver.url())).await.report;
    assert!((50..20_000).contains(&report.duration_ms), "{}", report.duration_ms);
}
