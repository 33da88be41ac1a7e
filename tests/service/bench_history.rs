//! `bench load` and `bench read` on a small history.

use clap::Parser;
use hooksentry_bench::history::{self, LoadOptions, ReadOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::Tenant;

#[derive(Parser)]
enum Command {
    Load(LoadOptions),
    Read(ReadOptions),
}

fn load_options(line: &[&str]) -> LoadOptions {
    match Command::parse_from(["bench", "load"].iter().chain(line)) {
        Command::Load(options) => options,
        Command::Read(_) => unreachable!("it says load"),
    }
}

fn read_options(line: &[&str]) -> ReadOptions {
    match Command::parse_from(["bench", "read"].iter().chain(line)) {
        Command::Read(options) => options,
        Command::Load(_) => unreachable!("it says read"),
    }
}

#[tokio::test]
async fn every_kind_of_request_is_measured_on_a_loaded_history() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url()).ready().await;
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record.json");
    let (url, record) = (database.url(), record.to_str().expect("a path of text").to_owned());
    let target = ["--base", service.base(), "--database-url", &url, "--record", &record];
    let sizes = ["--events", "400", "--tenants", "3", "--events-of-others", "20", "--destinations", "4"];
    let options = load_options(&[&target[..], &sizes].concat());
    let stop = CancellationToken::new();
    let loaded = history::load(&options, &stop, |_| {}).await.expect("a history");
    assert_eq!(loaded.events, 440);
    assert!(loaded.facts > 2 * 440, "{} facts", loaded.facts);

    let options = read_options(&[&target[..], &["--repeats", "2"]].concat());
    let report = history::read(&options, &stop).await.expect("a report");
    assert_eq!((report.events, report.events_of_all), (400, Some(440)));
    assert!(report.latencies.iter().all(|latency| latency.times == 2));
    for kind in [
        "first page, acceptedAt Desc",
        "deep page, status Asc",
        "stats by day",
        "audit first page, Desc, Administration",
        "page of events of a destination",
    ] {
        assert!(report.latencies.iter().any(|latency| latency.kind == kind), "{kind}");
    }
    assert!(report.relations.iter().any(|relation| relation.index.is_some() && relation.bytes > 0));
    assert!(report.markdown(50).contains("| first page, acceptedAt Desc |"));

    let text = std::fs::read_to_string(&record).expect("the record");
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["destinations"].as_array().map(Vec::len), Some(4));
    drop(service);
    database.discard().await;
}

#[tokio::test]
async fn an_installation_with_other_tenants_is_refused() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url()).ready().await;
    Tenant::register(service.base()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record.json");
    let url = database.url();
    let options = load_options(&[
        "--base",
        service.base(),
        "--database-url",
        &url,
        "--record",
        record.to_str().expect("a path of text"),
        "--events",
        "1",
    ]);
    let refused = history::load(&options, &CancellationToken::new(), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("tenants that no benchmark created"), "{refused:#}");
    assert!(!record.exists());
    drop(service);
    database.discard().await;
}
