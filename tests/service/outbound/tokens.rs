//! Destinations with a token endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::AuthType;
use futures::future::join_all;
use hooksentry::worker::request::Attempted;
use hooksentry::worker::request::Request;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::receiver::{Receiver, read_request};
use super::{TIMEOUT_LONG, TIMEOUT_SHORT, client, request, with_credentials};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn jwt_request(destination: &Receiver, token_endpoint: &str) -> Request {
    with_credentials(
        request(&destination.url()),
        AuthType::JwtBearer,
        json!({
            "tokenEndpoint": token_endpoint,
            "clientId": "we & co",
            "clientSecret": "s3cret",
            "scope": "hooks:write",
        }),
    )
}

fn json_answer(json: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len())
}

/// A token endpoint whose first token is `t1`, the second `t2` and so on.
async fn token_endpoint() -> Receiver {
    let count = Arc::new(AtomicUsize::new(0));
    Receiver::scripted(move |mut connection, log| {
        let count = Arc::clone(&count);
        async move {
            loop {
                read_request(&mut connection, &log).await?;
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                let answer =
                    format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
                connection.write_all(json_answer(&answer).as_bytes()).await?;
            }
        }
    })
    .await
}

/// A destination that accepts one token and refuses others.
async fn destination_accepting(token: &'static str) -> Receiver {
    Receiver::scripted(move |mut connection, log| async move {
        loop {
            let received = read_request(&mut connection, &log).await?;
            let accepted = received.header("authorization") == Some(&format!("Bearer {token}"));
            let answer = if accepted { OK } else { "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n" };
            connection.write_all(answer.as_bytes()).await?;
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_by_all() {
    let mut destination = Receiver::answering(OK).await;
    let mut endpoint = token_endpoint().await;
    let client = client(TIMEOUT_LONG);
    let request = jwt_request(&destination, &endpoint.url());
    let attempts = join_all((0..20).map(|_| client.attempt(&request))).await;
    assert!(attempts.iter().all(|attempted| attempted.report.outcome == Outcome::Succeeded));
    for _ in 0..20 {
        assert_eq!(destination.request().await.header("authorization"), Some("Bearer t1"));
    }
    let asked = endpoint.request().await;
    assert!(endpoint.requests.try_recv().is_err(), "asked more than once");
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        String::from_utf8(asked.body).unwrap(),
        "grant_type=client_credentials&client_id=we+%26+co&client_secret=s3cret&scope=hooks%3Awrite"
    );
}

#[tokio::test]
async fn a_refused_token_is_fetched_again_once() {
    let mut destination = destination_accepting("t2").await;
    let mut endpoint = token_endpoint().await;
    let client = client(TIMEOUT_LONG);
    let request = jwt_request(&destination, &endpoint.url());
    let report = client.attempt(&request).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Succeeded, Some(200)));
    assert_eq!(client.attempt(&request).await.report.outcome, Outcome::Succeeded);
    for token in ["t1", "t2", "t2"] {
        assert_eq!(destination.request().await.header("authorization"), Some(&*format!("Bearer {token}")));
    }
    endpoint.request().await;
    endpoint.request().await;
    assert!(endpoint.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_second_refusal_is_the_result() {
    let mut destination = destination_accepting("t9").await;
    let endpoint = token_endpoint().await;
    let report = client(TIMEOUT_LONG).attempt(&jwt_request(&destination, &endpoint.url())).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::RefusedStatus, Some(401)));
    destination.request().await;
    destination.request().await;
    assert!(destination.requests.try_recv().is_err());
}

#[tokio::test]
async fn an_attempt_without_a_token_fails_and_sends_nothing() {
    let refusal = r#"{"error":"invalid_client","error_description":"s3cret is wrong"}"#;
    let refused = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n{refusal}", refusal.len());
    for (answer, detail) in [
        (refused, "token endpoint: status 400 (invalid_client)"),
        ("HTTP/1.1 500 s3cret\r\ncontent-length: 6\r\n\r\ns3cret".to_owned(), "token endpoint: status 500"),
        (
            "HTTP/1.1 302 Go\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "token endpoint: status 302",
        ),
        (json_answer(r#"{"token":"t"}"#), "token endpoint: the answer holds no access_token"),
        (json_answer("s3cret"), "token endpoint: the answer holds no access_token"),
        (
            json_answer(r#"{"access_token":"a\r\nb"}"#),
            "token endpoint: the access_token cannot be sent in a header",
        ),
        (
            json_answer(&format!(r#"{{"access_token":"{}"}}"#, "a".repeat(70_000))),
            "token endpoint: the answer is too long",
        ),
        ("nonsense\r\n\r\n".to_owned(), "token endpoint: the answer is not valid HTTP: "),
    ] {
        let destination = Receiver::answering(OK).await;
        let endpoint = Receiver::answering(answer.leak()).await;
        let report = client(TIMEOUT_LONG).attempt(&jwt_request(&destination, &endpoint.url())).await.report;
        assert_eq!((report.outcome, report.status), (Outcome::TokenEndpoint, None), "{detail}");
        let found = report.detail.unwrap();
        assert!(found.starts_with(detail), "{found} instead of {detail}");
        assert_eq!(report.address, Some(endpoint.address.to_string()));
        assert_eq!(destination.connections(), 0);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_ends_at_the_deadline() {
    let destination = Receiver::answering(OK).await;
    let endpoint = Receiver::scripted(|connection, _| async move {
        let _open = connection;
        std::future::pending().await
    })
    .await;
    let client = client(TIMEOUT_SHORT);
    let request = jwt_request(&destination, &endpoint.url());
    for Attempted { report, .. } in join_all((0..5).map(|_| client.attempt(&request))).await {
        assert_eq!(report.outcome, Outcome::TokenEndpoint);
        assert_eq!(report.detail.as_deref(), Some("token endpoint: no answer within 1s"));
        assert!(report.duration_ms < 5_000, "{}", report.duration_ms);
    }
}

#[tokio::test]
async fn the_address_rules_apply_to_token_endpoints() {
    use hooksentry::worker::outbound_client::OutboundClient;

    let destination = Receiver::answering(OK).await;
    let endpoint = token_endpoint().await;
    let settings = super::settings(TIMEOUT_LONG);
    let settings = hooksentry::worker::outbound_client::OutboundSettings {
        rules: aggregates::target_rules::TargetRules::default(),
        ..settings
    };
    let client = OutboundClient::new(&settings).unwrap();
    let url = format!("https://localhost:{}/token", endpoint.address.port());
    let report = client.attempt(&jwt_request(&destination, &url)).await.report;
    assert_eq!(report.outcome, Outcome::TokenEndpoint);
    let detail = "token endpoint: the URL must not point at localhost";
    assert_eq!(report.detail.as_deref(), Some(detail));
    assert_eq!(endpoint.connections(), 0);
}
