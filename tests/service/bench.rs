//! The benchmark against a stub of the API that accepts and delivers events, and can lose or repeat them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use clap::Parser;
use hooksentry::identifiers;
use hooksentry::worker::request::EVENT_ID_HEADER;
use hooksentry_bench::{self as bench, BenchOptions, Report};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::client;
use crate::harness::postgres::TestDatabase;

/// Faults of the stub: of this many accepted events, one is lost or delivered twice.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: Option<u64>,
    doubled: Option<u64>,
}

struct Stub {
    faults: Faults,
    accepted: AtomicU64,
    destinations: Mutex<HashMap<String, String>>,
    deliveries: Mutex<JoinSet<()>>,
    client: reqwest::Client,
    pool: Option<sqlx::PgPool>,
}

async fn register_tenant() -> Json<Value> {
    let (tenant_id, owner) = (identifiers::new_id(), identifiers::new_id());
    Json(json!({ "tenantId": tenant_id, "ownerUserId": owner, "webhookSecret": "whsec_a" }))
}

async fn create_destination(State(stub): State<Arc<Stub>>, Json(body): Json<Value>) -> Json<Value> {
    let token = format!("dst_{}", identifiers::new_id().simple());
    let url = body["url"].as_str().expect("a URL").to_owned();
    stub.destinations.lock().expect("no panic while held").insert(token.clone(), url);
    Json(json!({ "id": identifiers::new_id(), "ingestToken": token }))
}

async fn ingest(
    State(stub): State<Arc<Stub>>,
    Path((_tenant_id, token)): Path<(String, String)>,
    body: String,
) -> (StatusCode, Json<Value>) {
    let url = stub.destinations.lock().expect("no panic while held")[&token].clone();
    let event_id = identifiers::new_id();
    let number = stub.accepted.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(pool) = &stub.pool {
        sqlx::query("SELECT pg_current_xact_id()").execute(pool).await.expect("a transaction");
    }
    let is_due = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
    let times = if is_due(stub.faults.lost) { 0 } else { 1 + u64::from(is_due(stub.faults.doubled)) };
    let delivering = Arc::clone(&stub);
    stub.deliveries.lock().expect("no panic while held").spawn(async move {
        for _ in 0..times {
            // A failed delivery is retried at once.
            loop {
                let request = delivering.client.post(&url).header(EVENT_ID_HEADER, event_id.to_string());
                let answer = request.body(body.clone()).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
            }
        }
    });
    let answer =
        json!({ "eventId": event_id, "status": "Pending", "acceptedAt": "2026-07-03T14:32:00.000Z" });
    (StatusCode::ACCEPTED, Json(answer))
}

/// Starts a stub and returns its URL. It stops when the set is dropped.
async fn start(faults: Faults, pool: Option<sqlx::PgPool>) -> (String, JoinSet<()>) {
    let stub = Arc::new(Stub {
        faults,
        accepted: AtomicU64::new(0),
        destinations: Mutex::default(),
        deliveries: Mutex::default(),
        client: client(),
        pool,
    });
    let login = json!({ "accessToken": "a", "expiresIn": 900, "refreshToken": "r", "expiresAt": "" });
    let router = Router::new()
        .route("/health/ready", get(|| async { "ready" }))
        .route("/api/v1/tenants", post(register_tenant))
        .route("/api/v1/auth/login", post(move || async { Json(login) }))
        .route("/api/v1/apikeys", post(|| async { Json(json!({ "key": "hks_a" })) }))
        .route("/api/v1/destinations", post(create_destination))
        .route("/api/v1/destinations/{id}", patch(|| async { Json(json!({})) }))
        .route("/api/v1/ingest/{tenant_id}/{token}", post(ingest))
        .with_state(stub);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("a bound socket"));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    (base, server)
}

fn options(base: &str, line: &str) -> BenchOptions {
    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        options: BenchOptions,
    }
    let line = format!("bench --base {base} {line}");
    CommandLine::parse_from(line.split_whitespace()).options
}

async fn run(base: &str, line: &str) -> Vec<Report> {
    bench::run(&options(base, line), &CancellationToken::new()).await.expect("a report")
}

#[tokio::test]
async fn every_event_is_tracked_until_it_arrives() {
    let (base, _stub) = start(Faults::default(), None).await;
    let line = "custom --count 200 --connections 4 --tenants 2 --destinations 3 --idempotency-keys \
                --payload-bytes 100:3,2000:1";
    let report = run(&base, line).await.remove(0);
    let counts = report.reconciliation;
    assert_eq!((counts.accepted, counts.delivered, counts.missing, counts.repeats), (200, 200, 0, 0));
    let load = &report.phases[0].loads[0];
    assert_eq!((load.sent, load.accepted, load.delivered), (200, 200, 200));
    assert!(load.errors.is_empty());
    let (accept, end_to_end) = (load.accept_ms.expect("latency"), load.end_to_end_ms.expect("latency"));
    assert!(0.0 < accept.p50 && accept.p50 <= accept.p99 && accept.p99 <= accept.max);
    assert!(0.0 < end_to_end.p50 && end_to_end.p50 <= end_to_end.max);
    assert_eq!(report.lost_events(), 0);
}

#[tokio::test]
async fn lost_and_repeated_events_are_reported() {
    let faults = Faults { lost: Some(10), doubled: Some(25) };
    let (base, _stub) = start(faults, None).await;
    let report = run(&base, "--count 100 --connections 4 --drain 1s").await.remove(0);
    let counts = report.reconciliation;
    // Every tenth is lost, every 25th doubled; 50 and 100 are lost before they can be doubled.
    assert_eq!((counts.accepted, counts.delivered, counts.missing, counts.repeats), (100, 90, 10, 2));
    assert_eq!(report.lost_events(), 10);
    assert!(bench::describe(&report).contains("10 MISSING"));
}

#[tokio::test]
async fn failures_on_purpose_are_retried_and_do_not_count_as_lost() {
    let (base, _stub) = start(Faults::default(), None).await;
    let line = "--count 100 --connections 4 --receiver-failure-rate 0.2 --receiver-latency 2ms";
    let report = run(&base, line).await.remove(0);
    let counts = report.reconciliation;
    assert_eq!((counts.delivered, counts.missing, counts.awaiting_retry), (100, 0, 0));
    assert!(counts.retried >= 1, "a fifth of the attempts fail: {counts:?}");
}

#[tokio::test]
async fn the_work_of_the_database_is_divided_by_the_number_of_events() {
    let database = TestDatabase::create().await;
    let (base, _stub) = start(Faults::default(), Some(database.pool().await)).await;
    let line = format!("sustained --count 100 --connections 4 --database-url {}", database.url());
    let report = run(&base, &line).await.remove(0);
    let cost = report.phases[1].cost.database.as_ref().expect("the work of the database");
    // Other tests may write to the same server. Only what the server publishes at once is asserted: it counts
    // commits late, and a server without durability writes its WAL at any time.
    assert!(cost.writes_per_event >= 1.0, "{cost:?}");
    assert!(
        bench::markdown(&[report])
            .contains("| Commits per event delivered, closed loop, 4 connections; WAL bytes | ")
    );
    database.discard().await;
}

#[tokio::test]
async fn predefined_workloads_run_and_are_summarised() {
    let (base, _stub) = start(Faults::default(), None).await;
    let line = format!(
        "latency,sustained,accept-only,backlog,fairness,destinations,overload --count 50 --connections 4 --duration 500ms \
         --pid stub={}",
        std::process::id()
    );
    let reports = run(&base, &line).await;
    assert!(reports.iter().all(|report| report.lost_events() == 0));
    let phases: Vec<_> = reports.iter().flat_map(|report| &report.phases).collect();
    let names: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
    let expected = [
        "100/s",
        "500/s",
        "1000/s",
        "2000/s",
        "16 connections",
        "4 connections",
        "accept",
        "deliver",
        "accept",
        "deliver",
        "before",
        "loud",
        "hanging",
        "to 1",
        "to 1000",
        "as much as is accepted",
        "2 times as much",
        "5 times as much",
        "500/s afterwards",
    ];
    assert_eq!(names, expected);
    // A closed gate holds all deliveries.
    assert_eq!((phases[8].loads[0].accepted, phases[9].loads[0].delivered), (50, 50));

    let summary = bench::markdown(&reports);
    for what in [
        "| Accept latency p50 / p99 at 500/s open loop | ",
        "| Delivered/s sustained, closed loop, 4 connections | ",
        "| CPU ms per event delivered, closed loop, 4 connections | ",
        "| Delivered/s, to 1000 destinations | ",
        "| Overload, 5 times as much: delivered/s | ",
        "| Accepted/s, deliveries held back, closed loop, 4 connections | ",
        "| Peak resident memory, 50 events waiting | stub ",
        "| Delivered/s from a backlog, ingest idle | ",
        "| Fairness, end to end p50 / p99 of the others, hanging | ",
        "| Accepted events that did not arrive (backlog) | 0 of 50 |",
    ] {
        assert!(summary.contains(what), "{what} in\n{summary}");
    }
}

#[tokio::test]
async fn a_service_that_is_absent_or_remote_is_refused() {
    let free = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a free port");
    for (base, complaint) in [
        (format!("http://{free}"), "there is no HookSentry ready at"),
        ("http://192.0.2.1:5143".to_owned(), "192.0.2.1 is not on this machine"),
    ] {
        let options = options(&base, "");
        let never = CancellationToken::new();
        let running = bench::run(&options, &never);
        let error =
            tokio::time::timeout(Duration::from_secs(30), running).await.expect("at once").unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{error:#}");
    }
}
