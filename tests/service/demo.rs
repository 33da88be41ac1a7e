//! `dev --demo`: its summary, its receiver, and a restart.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::harness::{WAIT_TIMEOUT, install_tls};

struct Demo {
    program: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// Values of the summary by name.
    summary: HashMap<String, String>,
    /// The `curl` command of the summary, without `curl`.
    curl: String,
}

impl Demo {
    /// Starts the demonstration and reads its output up to the end of the summary.
    async fn start(folder: &Path) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hooksentry"))
            .args(["dev", "--demo", "--listen", "127.0.0.1:0", "--log", "warn", "--data-dir"])
            .arg(folder)
            .env_remove("DATABASE_URL")
            .env_remove("AMQP_URL")
            .env("HOOKSENTRY_PASSWORD_MEMORY_KIB", "64")
            .env("HOOKSENTRY_PASSWORD_PASSES", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(program.stdout.take().expect("its output")).lines();
        let mut summary = HashMap::new();
        let curl = loop {
            let line = next(&mut output).await;
            if let Some(curl) = line.strip_prefix("  curl ") {
                break curl.to_owned();
            }
            if let Some((name, value)) = line.strip_prefix("  ").and_then(|line| line.split_once("  ")) {
                summary.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        };
        Self { program, output, summary, curl }
    }

    async fn stop(mut self) {
        let id = self.program.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill runs").success());
        let status = timeout(WAIT_TIMEOUT, self.program.wait()).await.expect("it stops").expect("a status");
        assert!(status.success(), "{status}");
    }
}

async fn next(output: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(WAIT_TIMEOUT, output.next_line()).await.expect("a line in time");
    line.expect("text").expect("the output goes on")
}

/// Checks that a link signs in to the dashboard, once and not from elsewhere.
async fn check_link(link: &str) {
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let forwarded = client.get(link).header("X-Forwarded-For", "192.0.2.1").send().await.expect("an answer");
    assert_eq!(forwarded.status(), 404);
    let signed_in = client.get(link).send().await.expect("an answer");
    assert_eq!(signed_in.status(), 303);
    assert!(signed_in.headers()["set-cookie"].to_str().expect("text").starts_with("hooksentry=rfr_"));
    let again = client.get(link).send().await.expect("an answer");
    assert_eq!(again.status(), 404);
    assert!(again.text().await.expect("a page").contains("This link cannot be used any more"));
}

#[tokio::test]
async fn the_printed_request_works_and_the_next_start_uses_the_same_tenant() {
    install_tls();
    let folder =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("a folder");
    let mut demo = Demo::start(folder.path()).await;

    let quoted: Vec<&str> = demo.curl.split('\'').collect();
    let (url, key, body) = (demo.curl.split(' ').nth(1).expect("a URL"), quoted[1], quoted[5]);
    assert_eq!(url, demo.summary["Ingest URL"]);
    let key = key.strip_prefix("X-Api-Key: ").expect("an API key");
    let client = reqwest::Client::new();
    let request = client.post(url).header("X-Api-Key", key).header("Content-Type", "application/json");
    let answer = request.body(body.to_owned()).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let event_id = answer.json::<serde_json::Value>().await.expect("JSON")["eventId"].clone();
    // The receiver prints the webhook, and that its signature is verified.
    let id_line = format!("  x-hooksentry-event-id: {}", event_id.as_str().expect("an id"));
    let mut arrival = Vec::new();
    loop {
        let line = next(&mut demo.output).await;
        if line.is_empty() {
            if arrival.contains(&id_line) {
                break;
            }
            arrival.clear();
        }
        arrival.push(line);
    }
    assert!(arrival.contains(&"  verified  X-HookSentry-Signature".to_owned()), "{arrival:#?}");

    check_link(&demo.summary["Sign in once"]).await;

    let before = demo.summary.clone();
    demo.stop().await;
    let again = Demo::start(folder.path()).await;
    for name in ["Login", "Password", "Tenant", "API key"] {
        assert_eq!(again.summary[name], before[name], "{name}");
    }
    let state = fs::metadata(folder.path().join("demo.json")).expect("the state");
    assert_eq!(state.permissions().mode() & 0o777, 0o600);
    again.stop().await;
}
