//! A small history, loaded and read as a large one would be.

use clap::Parser;
use hooksentry::bench::history::{self, LoadOptions, ReadOptions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::Tenant;

#[derive(Parser)]
enum Line {
    Load(LoadOptions),
    Read(ReadOptions),
}

fn load_options(line: &[&str]) -> LoadOptions {
    match Line::parse_from(["bench", "load"].iter().chain(line)) {
        Line::Load(options) => options,
        Line::Read(_) => unreachable!("it says load"),
    }
}

fn read_options(line: &[&str]) -> ReadOptions {
    match Line::parse_from(["bench", "read"].iter().chain(line)) {
        Line::Read(options) => options,
        Line::Load(_) => unreachable!("it says read"),
    }
}

#[tokio::test]
async fn every_kind_of_question_is_answered_on_a_loaded_history() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url()).ready().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept.json");
    let (url, kept) = (database.url(), kept.to_str().expect("a path of text").to_owned());
    let target = ["--base", service.base(), "--database-url", &url, "--kept", &kept];
    let sizes = ["--events", "400", "--tenants", "3", "--events-of-others", "20", "--destinations", "4"];
    let options = load_options(&[&target[..], &sizes].concat());
    let stop = CancellationToken::new();
    let loaded = history::load(&options, &stop, |_| {}).await.expect("a history");
    assert_eq!(loaded.events, 440);
    assert!(loaded.facts > 2 * 440, "{} facts", loaded.facts);

    let options = read_options(&[&target[..], &["--repeats", "2"]].concat());
    let report = history::read(&options, &stop).await.expect("a report");
    assert_eq!((report.events, report.events_of_all), (400, Some(440)));
    assert!(report.answered.iter().all(|answered| answered.times == 2));
    for kind in ["first page, acceptedAt Desc", "deep page, status Asc", "stats by day"] {
        assert!(report.answered.iter().any(|answered| answered.kind == kind), "{kind}");
    }
    assert!(report.relations.iter().any(|relation| relation.index.is_some() && relation.bytes > 0));
    assert!(report.markdown(50).contains("| first page, acceptedAt Desc |"));

    let text = std::fs::read_to_string(&kept).expect("what was kept");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(kept["destinations"].as_array().map(Vec::len), Some(4));
    drop(service);
    database.discard().await;
}

#[tokio::test]
async fn an_installation_of_somebody_else_is_refused() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url()).ready().await;
    Tenant::register(service.base()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept.json");
    let url = database.url();
    let options = load_options(&[
        "--base",
        service.base(),
        "--database-url",
        &url,
        "--kept",
        kept.to_str().expect("a path of text"),
        "--events",
        "1",
    ]);
    let refused = history::load(&options, &CancellationToken::new(), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("tenants that no benchmark made"), "{refused:#}");
    assert!(!kept.exists());
    drop(service);
    database.discard().await;
}
