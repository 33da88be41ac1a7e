//! Deliveries are verified by the Standard Webhooks library for Python.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::receiver::{Arrival, Receiver};
use crate::harness::tenant::Tenant;

/// Folder in which `.ci/setup` installs it, next to the build.
const LIBRARY: &str = "standardwebhooks-1.1.0";

/// Returns the library's result for each delivery.
async fn verdicts(deliveries: &[Value]) -> Vec<String> {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(LIBRARY);
    assert!(library.exists(), "the library {LIBRARY} is not installed; `make setup` does that");
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/standard_webhooks.py"))
        .env("PYTHONPATH", library)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which `make setup` installs");
    let lines: String = deliveries.iter().map(|delivery| format!("{delivery}\n")).collect();
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(lines.as_bytes()).await.expect("a process that reads");
    drop(input);
    let output = python.wait_with_output().await.expect("our child");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn delivery(secret: &str, arrival: &Arrival) -> Value {
    let headers: serde_json::Map<_, _> = arrival
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").into()))
        .collect();
    let body = std::str::from_utf8(&arrival.body).expect("text");
    json!({ "secret": secret, "headers": headers, "body": body })
}

#[tokio::test]
async fn the_library_for_python_accepts_deliveries_and_no_altered_ones() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let arrives = async |payload: &str| {
        let answer = tenant.try_ingest(&destination, payload.to_owned()).await.expect("an answer");
        let accepted: Value = answer.json().await.expect("JSON");
        let event_id = accepted["eventId"].as_str().expect("an id").to_owned();
        tenant.until_event(&event_id, "Succeeded").await;
        receiver.arrivals().into_iter().find(|arrival| arrival.event_id() == event_id).expect("it arrived")
    };
    let old = tenant.webhook_secret.clone();
    let plain = arrives("{ \"a\" : 1.50,\n\"b\":\"\\u00e9 é €\" }").await;
    let new = tenant.regenerate_secret(json!({ "overlapSeconds": 3_600 })).await;
    let overlapping = arrives("{}").await;

    let mut altered = delivery(&old, &plain);
    altered["body"] = json!("{ \"a\" : 1.51,\n\"b\":\"\\u00e9 é €\" }");
    let mut of_another = delivery(&old, &plain);
    of_another["headers"]["webhook-id"] = json!(overlapping.event_id());
    let said = verdicts(&[
        delivery(&old, &plain),
        delivery(&old, &overlapping),
        delivery(&new, &overlapping),
        delivery(&new, &plain),
        altered,
        of_another,
    ])
    .await;
    let refused = "refused: No matching signature found";
    assert_eq!(said, ["accepted", "accepted", "accepted", refused, refused, refused]);
    assert!(program.stop().await.success());
    database.discard().await;
}
