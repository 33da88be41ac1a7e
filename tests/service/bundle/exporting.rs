//! What bundles have, and how they are verified.

use serde_json::Value;

use super::{Installation, facts, manifest, members, verify, verify_with_key, verify_with_python, vkey};
use crate::harness::postgres::lose_facts;

#[tokio::test]
async fn every_kind_of_bundle_is_verified_by_the_program_alone_and_by_python_and_openssl_alone() {
    let installation = Installation::with_events(100).await;
    let event = &installation.events[0];
    let whole = installation.exported("whole.tar.gz", &[]).await;
    let lines = facts(&whole);
    let middle = lines[150]["fact"]["recorded"].as_str().expect("a time").to_owned();
    let later = lines[280]["fact"]["recorded"].as_str().expect("a time").to_owned();
    let last = lines.len() - 1;
    // A full tile, and a partial one after it.
    assert!(lines.len() > 300, "{}", lines.len());
    for (name, selection) in [
        ("of-event.tar.gz", ["--event", event].as_slice()),
        ("of-destination.tar.gz", &["--destination", &installation.destination]),
        ("from.tar.gz", &["--from", &middle]),
        ("to.tar.gz", &["--to", &middle]),
        ("between.tar.gz", &["--from", &middle, "--to", &later]),
    ] {
        let bundle = installation.exported(name, selection).await;
        let said = verify_with_key(&bundle, 1).await.succeeded().output;
        assert!(said.ends_with("\nVERIFIED\n"), "{name}: {said}");
        let said = verify_with_python(&bundle, 1).await.succeeded().output;
        assert!(said.ends_with("VERIFIED\n"), "{name}: {said}");
    }

    let report = verify(&whole, &["--key", &vkey(1), "--json"]).await.succeeded().output;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["verified"], true);
    assert_eq!(report["facts"], lines.len());
    assert_eq!(report["logs"][0]["complete"], serde_json::json!([0, last]));
    assert_eq!(report["payloads"]["verified"], 100);
    assert_eq!(report["responses"]["verified"], 100);
    verify_with_python(&whole, 1).await.succeeded();

    // The bundle of one event has its facts and no others, its payload as it was received and delivered, and its proofs.
    let bundle = installation.path("of-event.tar.gz");
    let streams: Vec<Value> = facts(&bundle).iter().map(|line| line["fact"]["stream"].clone()).collect();
    assert_eq!(streams, vec![format!("WebhookEvent/{event}"); 3]);
    let members = members(&bundle);
    let content = |name: &str| {
        let member = members.iter().find(|(path, _)| path == name).unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(member.1.clone()).expect("text")
    };
    assert_eq!(content(&format!("payloads/{event}.delivered")), r#"{"n":7}"#);
    assert!(content(&format!("payloads/{event}.received")).contains("not delivered"));
    assert_eq!(members.iter().filter(|(path, _)| path.starts_with("proofs/")).count(), 3);

    // All events of the destination, and the destination itself, but no users or keys.
    let of_destination = facts(&installation.path("of-destination.tar.gz"));
    assert_eq!(of_destination.iter().filter(|line| line["fact"]["type"] == "EventAccepted").count(), 100);
    let other = |line: &&Value| {
        let stream = line["fact"]["stream"].as_str().expect("a stream");
        !stream.starts_with("WebhookEvent/") && stream != format!("Destination/{}", installation.destination)
    };
    assert_eq!(of_destination.iter().find(other), None);

    // A bundle of a time has one fact more at either end, so that it cannot be cut.
    let between = manifest(&installation.path("between.tar.gz"));
    let indexes = &between["logs"][0]["indexes"];
    assert!(indexes[0].as_u64().unwrap() > 0 && indexes[1].as_u64().unwrap() < last as u64, "{between}");
    let times: Vec<String> = facts(&installation.path("between.tar.gz"))
        .iter()
        .map(|line| line["fact"]["recorded"].as_str().expect("a time").to_owned())
        .collect();
    assert!(times[0] < middle && *times.last().expect("a fact") >= later);
    installation.stop().await;
}

#[tokio::test]
async fn what_is_erased_is_missing_and_its_facts_are_verified() {
    let installation = Installation::with_events(3).await;
    let pool = installation.database.pool().await;
    for table in ["payloads", "attempt_responses"] {
        let erase = format!("DELETE FROM {table} WHERE event_id::text = $1");
        sqlx::query(&erase).bind(&installation.events[0]).execute(&pool).await.expect("an erasure");
    }
    let bundle = installation.exported("erased.tar.gz", &["--event", &installation.events[0]]).await;
    assert!(!members(&bundle).iter().any(|(path, _)| path.starts_with("payloads/")));
    let said = verify_with_key(&bundle, 1).await.succeeded().output;
    assert!(said.contains("payloads: 0 verified, 1 not stored any more"), "{said}");
    verify_with_python(&bundle, 1).await.succeeded();
    installation.stop().await;
}

#[tokio::test]
async fn an_export_that_is_not_possible_says_why_and_writes_nothing() {
    let installation = Installation::with_events(2).await;
    let unknown = "0190c2de-6b1c-7000-8000-000000000001";
    for (selection, words) in [
        (["--event", unknown].as_slice(), ["has no webhook event", unknown].as_slice()),
        (&["--destination", unknown], &["has no destination", unknown]),
        (&["--from", "2100-01-01T00:00:00Z"], &["no facts of the tenant", "were recorded in that time"]),
        (
            &["--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"],
            &["--from must be before --to"],
        ),
        (&["--policy", "/nowhere"], &["/nowhere cannot be read"]),
    ] {
        installation.export("none.tar.gz", selection).await.failed_with(1, words);
    }
    let refused = installation.export("none.tar.gz", &["--from", "yesterday"]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.errors);
    let nowhere = installation.export("nowhere/none.tar.gz", &[]).await;
    nowhere.failed_with(1, &["was not written"]);

    // A fact that is missing is not left out silently.
    let event = &installation.events[1];
    lose_facts(&installation.database.pool().await, &format!("aggregate_id = '{event}' AND sequence = 2"))
        .await;
    installation.export("none.tar.gz", &[]).await.failed_with(1, &["the log cannot be read", "--database"]);
    let files = std::fs::read_dir(installation.folder.path()).expect("a folder").count();
    assert_eq!(files, 0, "an export that failed leaves nothing");

    std::fs::write(installation.path("mine.tar.gz"), "mine").expect("a file");
    installation
        .export("mine.tar.gz", &["--event", &installation.events[0]])
        .await
        .failed_with(1, &["exists"]);
    assert_eq!(std::fs::read_to_string(installation.path("mine.tar.gz")).expect("a file"), "mine");
    installation.stop().await;
}
