//! No request is sent to a blocked address, by name or literal.

use std::sync::Arc;
use std::time::Duration;

use aggregates::attempt_outcome::Outcome;
use aggregates::target_rules::TargetRules;
use hooksentry::worker::name_lookup::{Addresses, LookupFailure, NameLookup};
use hooksentry::worker::outbound_client::{OutboundClient, OutboundSettings};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::receiver::{Answers, Identity, Receiver, read_request};
use super::{TIMEOUT_LONG, request, settings};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn guarded(lookup: Arc<dyn NameLookup>) -> OutboundClient {
    let settings = OutboundSettings { rules: TargetRules::default(), ..settings(TIMEOUT_LONG) };
    OutboundClient::with_lookup(&settings, lookup).unwrap()
}

#[tokio::test]
async fn names_and_literals_of_private_addresses_are_blocked_before_a_connection() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let lookup = Answers::new(&[&["8.8.8.8", "127.0.0.1"]]);
    for (host, address, detail) in [
        ("127.0.0.1", Some("127.0.0.1"), "127.0.0.1"),
        ("2130706433", Some("127.0.0.1"), "127.0.0.1"),
        ("[::ffff:7f00:1]", Some("[::ffff:127.0.0.1]"), "::ffff:127.0.0.1"),
    ] {
        let url = format!("https://{host}:{port}/");
        let report = guarded(Arc::clone(&lookup) as _).attempt(&request(&url)).await.report;
        assert_eq!((report.outcome, report.status), (Outcome::BlockedAddress, None), "{url}");
        assert_eq!(report.address, address.map(|address| format!("{address}:{port}")), "{url}");
        let detail = format!("the URL must not point at {detail} (loopback, 127.0.0.0/8)");
        assert_eq!(report.detail, Some(detail));
    }
    // The address that the name resolves to is only logged, for the operator.
    let named = guarded(Arc::clone(&lookup) as _)
        .attempt(&request(&format!("https://harmless.example:{port}/")))
        .await
        .report;
    assert_eq!((named.outcome, named.status, named.address), (Outcome::Dns, None, None));
    let detail = "harmless.example does not resolve to an address that may be reached";
    assert_eq!(named.detail.as_deref(), Some(detail));
    let plain = guarded(lookup).attempt(&request(&format!("http://harmless.example:{port}/"))).await.report;
    assert_eq!(plain.outcome, Outcome::BlockedAddress);
    assert_eq!(
        plain.detail.as_deref(),
        Some("the URL must be an absolute https URL, such as https://example.com/webhooks")
    );
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_systems_own_names_for_this_machine_are_blocked() {
    let receiver = Receiver::answering(OK).await;
    let settings = OutboundSettings { rules: TargetRules::default(), ..settings(TIMEOUT_LONG) };
    let client = OutboundClient::new(&settings).unwrap();
    let report =
        client.attempt(&request(&format!("https://localhost:{}/", receiver.address.port()))).await.report;
    assert_eq!(report.outcome, Outcome::BlockedAddress);
    assert_eq!(receiver.connections(), 0);
}

/// With one lookup for the check and another one for the connection, this request would go elsewhere.
#[tokio::test]
async fn the_checked_address_is_the_one_that_is_connected() {
    let receiver = Receiver::answering(OK).await;
    let lookup = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = OutboundClient::with_lookup(&settings(TIMEOUT_LONG), Arc::clone(&lookup) as _).unwrap();
    let url = format!("http://rebound.example:{}/", receiver.address.port());
    let report = client.attempt(&request(&url)).await.report;
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(report.address, Some(receiver.address.to_string()));
    assert_eq!(*lookup.asked.lock().unwrap(), ["rebound.example."]);
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    let url = "https://nowhere.example/";
    for lookup in [Answers::new(&[]), Answers::new(&[&[]])] {
        let report = guarded(lookup).attempt(&request(url)).await.report;
        assert_eq!(report.outcome, Outcome::Dns);
        let detail = "nowhere.example does not resolve to an address that may be reached";
        assert_eq!(report.detail.as_deref(), Some(detail));
    }
}

#[tokio::test]
async fn a_lookup_that_hangs_ends_at_the_deadline() {
    struct Hanging;
    #[async_trait::async_trait]
    impl NameLookup for Hanging {
        async fn lookup(&self, _: &str) -> Result<Addresses, LookupFailure> {
            std::future::pending().await
        }
    }
    let settings = settings(Duration::from_millis(100));
    let client = OutboundClient::with_lookup(&settings, Arc::new(Hanging)).unwrap();
    let report = client.attempt(&request("http://hanging.example/")).await.report;
    assert_eq!((report.outcome, report.address), (Outcome::Timeout, None));
}

#[tokio::test]
async fn an_attempt_that_the_worker_cannot_make_is_not_a_failure_of_the_destination() {
    struct Short;
    #[async_trait::async_trait]
    impl NameLookup for Short {
        async fn lookup(&self, _: &str) -> Result<Addresses, LookupFailure> {
            Err(LookupFailure::OwnShortage("no file is left".to_owned()))
        }
    }
    let report = guarded(Arc::new(Short)).attempt(&request("https://hooks.example/")).await.report;
    assert_eq!(report.outcome, Outcome::NotSent);
    assert_eq!(report.detail.as_deref(), Some("no file is left"));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (proxy, detail) in [
        (format!("http://{closed}"), "the proxy cannot be reached: connection refused"),
        (
            format!("http://proxy.internal:{}", closed.port()),
            "the name of the proxy cannot be resolved: no such name",
        ),
    ] {
        let settings = OutboundSettings {
            rules: TargetRules::default(),
            proxy: Some(proxy.parse().unwrap()),
            ..settings(TIMEOUT_LONG)
        };
        let client = OutboundClient::with_lookup(&settings, Answers::new(&[])).unwrap();
        let report = client.attempt(&request("https://8.8.8.8/")).await.report;
        assert_eq!(report.outcome, Outcome::NotSent, "{:?}", report.detail);
        assert_eq!(report.detail.as_deref(), Some(detail));
    }
}

/// A proxy that connects every tunnel to one receiver, as a resolver under attack would.
async fn proxy_to(receiver: std::net::SocketAddr) -> Receiver {
    Receiver::scripted(move |mut connection, log| async move {
        let asked = read_request(&mut connection, &log).await?;
        if !asked.head.starts_with("CONNECT ") {
            return connection.write_all(OK.as_bytes()).await;
        }
        connection.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
        copy_bidirectional(&mut connection, &mut TcpStream::connect(receiver).await?).await.map(|_| ())
    })
    .await
}

#[tokio::test]
async fn behind_a_proxy_the_target_is_checked_before_the_proxy_gets_the_request() {
    let identity = Identity::of("hooks.example");
    let mut receiver = Receiver::answering_tls(&identity, OK).await;
    let mut proxy = proxy_to(receiver.address).await;
    // The proxy's name resolves to a private address, which the operator has configured.
    let lookup = Answers::new(&[&["8.8.8.8"], &["127.0.0.1"], &["10.0.0.1"]]);
    let settings = OutboundSettings {
        rules: TargetRules::default(),
        proxy: Some(format!("http://me:pw@proxy.internal:{}", proxy.address.port()).parse().unwrap()),
        extra_roots: vec![identity.root()],
        ..settings(TIMEOUT_LONG)
    };
    let client = OutboundClient::with_lookup(&settings, Arc::clone(&lookup) as _).unwrap();

    let report = client.attempt(&request("https://hooks.example/hook")).await.report;
    assert_eq!(report.outcome, Outcome::Succeeded, "{:?}", report.detail);
    assert_eq!(report.address, None, "only the proxy knows");
    assert_eq!(*lookup.asked.lock().unwrap(), ["hooks.example.", "proxy.internal"]);
    let asked = proxy.request().await;
    assert!(asked.head.starts_with("CONNECT hooks.example:443 "), "{}", asked.head);
    assert_eq!(asked.header("proxy-authorization"), Some("Basic bWU6cHc="));
    assert_eq!(receiver.request().await.body, br#"{"a":1}"#);

    for (url, outcome) in [
        ("https://hooks.example/hook", Outcome::Dns),
        ("https://10.0.0.1/", Outcome::BlockedAddress),
        ("http://hooks.example/", Outcome::BlockedAddress),
    ] {
        assert_eq!(client.attempt(&request(url)).await.report.outcome, outcome, "{url}");
    }
    assert_eq!(proxy.connections(), 1, "the proxy heard of none of these");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_a_connect_failure() {
    let proxy = Receiver::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let settings = OutboundSettings {
        rules: TargetRules::default(),
        proxy: Some(format!("http://{}", proxy.address).parse().unwrap()),
        ..settings(TIMEOUT_LONG)
    };
    let client = OutboundClient::with_lookup(&settings, Answers::new(&[&["8.8.8.8"]])).unwrap();
    let report = client.attempt(&request("https://hooks.example/hook")).await.report;
    assert_eq!(report.outcome, Outcome::Connect);
    assert_eq!(report.detail.as_deref(), Some("through the proxy: tunnel error: unsuccessful"));
    assert_eq!(report.address, None);
}
