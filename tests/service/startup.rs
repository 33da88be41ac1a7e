//! Errors at startup, and the output of the short commands.

use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use aggregates::ids::TenantId;
use hooksentry::secrets::master_keys::MasterKeys;
use hooksentry::secrets::vault::Vault;
use secrecy::ExposeSecret;
use tokio::process::Command;
use uuid::Uuid;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::free_port;
use crate::harness::{WAIT_TIMEOUT, install_tls};

const FIRST_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const SECOND_KEY: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";

/// Runs the program to its end.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command
        .args(arguments)
        .env_clear()
        .env("HOOKSENTRY_JWT_KEY", "tests:a-key-of-at-least-32-bytes-for-tests")
        .env("HOOKSENTRY_ENCRYPTION_KEY", FIRST_KEY)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    tokio::time::timeout(WAIT_TIMEOUT, command.output()).await.expect("it ends").expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one line in which it says why it ended.
fn last_line(output: &Output) -> String {
    said(output).lines().last().unwrap_or_default().to_owned()
}

fn unused_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

async fn seal(database: &TestDatabase, key: &str, tenant: u128) {
    let keys: MasterKeys = key.parse().expect("a key");
    let vault = Vault::new(database.pool().await, keys);
    vault.seal(TenantId(Uuid::from_u128(tenant)), "test", b"secret").await.expect("a sealed secret");
}

#[tokio::test]
async fn an_invalid_setting_is_reported_in_one_line_before_anything_starts() {
    let output = run(&["serve"], &[("HOOKSENTRY_RETRY_BASE", "soon")]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        said(&output),
        "hooksentry: HOOKSENTRY_RETRY_BASE (--retry-base) is \"soon\": must be a duration such as 200ms, 10s or 6h\n"
    );
    // The check of settings against each other comes after the start of the log.
    let output = run(&["serve", "--retry-cap", "1s"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(last_line(&output).contains("must be at least HOOKSENTRY_RETRY_BASE"), "{}", said(&output));
    let output = run(&["serve"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(last_line(&output).contains("DATABASE_URL (--database-url) is not set"), "{}", said(&output));
}

/// The error about a cap below the base shows which value of the base was used.
#[tokio::test]
async fn a_flag_wins_over_its_variable_and_that_over_the_default() {
    for (arguments, variable, used) in [
        (&[][..], Some("200ms"), "200ms"),
        (&["--retry-base", "7s"], Some("200ms"), "7s"),
        (&["--retry-base=7s"], Some("nonsense"), "7s"),
        (&[], Some(""), "10s"),
        (&[], None, "10s"),
    ] {
        let arguments = [&["serve", "--retry-cap", "100ms"], arguments].concat();
        let environment: Vec<_> =
            variable.map(|value| ("HOOKSENTRY_RETRY_BASE", value)).into_iter().collect();
        let output = run(&arguments, &environment).await;
        assert_eq!(output.status.code(), Some(2));
        let expected = format!("must be at least HOOKSENTRY_RETRY_BASE, which is {used}");
        assert!(last_line(&output).ends_with(&expected), "{}", said(&output));
    }
}

#[tokio::test]
async fn help_names_the_variables() {
    let output = run(&["serve", "--help"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).expect("text");
    assert!(help.contains("[env: HOOKSENTRY_RETRY_BASE") && help.contains("[default: 10s]"), "{help}");
    // The value of a secret must not be in the scrollback of a terminal.
    assert!(help.contains("[env: HOOKSENTRY_JWT_KEY]") && !help.contains("a-key-of-at-least"), "{help}");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_tried_until_the_startup_timeout() {
    let url = format!("postgres://me:hunter2@{}/hooks", unused_address());
    let output = run(&["serve"], &[("DATABASE_URL", &url), ("HOOKSENTRY_START_TIMEOUT", "900ms")]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.matches("PostgreSQL cannot be reached, retrying").count() >= 2, "{said}");
    let last = last_line(&output);
    assert!(
        last.starts_with("hooksentry: PostgreSQL could not be reached within 900ms (hooks at 127.0.0.1:"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

/// During a failover the address of the primary may lead to a standby that is not promoted yet.
#[tokio::test]
async fn a_database_that_is_read_only_is_tried_until_the_startup_timeout() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    sqlx::raw_sql(
        "DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
         END $$",
    )
    .execute(&pool)
    .await
    .expect("a read-only database");
    pool.close().await;
    let environment = [("DATABASE_URL", database.url()), ("HOOKSENTRY_START_TIMEOUT", "900ms".to_owned())];
    let output =
        run(&["migrate"], &environment.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.matches("PostgreSQL cannot be reached, retrying").count() >= 2, "{said}");
    assert!(last_line(&output).contains("the server is read-only"), "{said}");
    database.discard().await;
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_an_error_at_once() {
    let database = TestDatabase::create().await;
    let url = database.url().replace("test_", "missing_");
    let output = run(&["migrate"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(output.status.code(), Some(1));
    let last = last_line(&output);
    assert!(last.starts_with("hooksentry: PostgreSQL refuses the connection (missing_"), "{last}");
    assert!(last.contains("does not exist"), "{last}");
    database.discard().await;
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_tried_until_the_startup_timeout() {
    let database = TestDatabase::create().await;
    let broker = format!("amqp://me:hunter2@{}/%2f", unused_address());
    let environment = [
        ("DATABASE_URL", database.url()),
        ("AMQP_URL", broker),
        ("HOOKSENTRY_START_TIMEOUT", "500ms".to_owned()),
    ];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = run(&["serve", "--listen", "127.0.0.1:0"], &environment).await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(last_line(&output).contains("no broker could be used within 500ms"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    database.discard().await;
}

#[tokio::test]
async fn a_port_in_use_is_reported_in_one_sentence() {
    let database = TestDatabase::create().await;
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    let output = run(&["serve", "--listen", &address], &[("DATABASE_URL", &database.url())]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        last_line(&output),
        format!(
            "hooksentry: {address} is in use by another program: stop it, or choose another address with \
             HOOKSENTRY_LISTEN"
        )
    );
    database.discard().await;
}

#[tokio::test]
async fn a_missing_encryption_key_is_named_before_anything_starts() {
    let database = TestDatabase::create().await;
    seal(&database, SECOND_KEY, 1).await;
    let url = database.url();
    let output = run(&["serve", "--listen", "127.0.0.1:0"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(output.status.code(), Some(1));
    let second: MasterKeys = SECOND_KEY.parse().expect("a key");
    let last = last_line(&output);
    assert!(
        last.contains(&format!(
            "HOOKSENTRY_ENCRYPTION_KEY (--encryption-key) lacks the key {}",
            second.first()
        )),
        "{last}"
    );
    assert!(!last.contains(SECOND_KEY), "{last}");
    database.discard().await;
}

#[tokio::test]
async fn an_encryption_key_is_retired_by_a_command() {
    let database = TestDatabase::create().await;
    seal(&database, FIRST_KEY, 1).await;
    seal(&database, FIRST_KEY, 2).await;
    let url = database.url();

    let new_alone = [("DATABASE_URL", url.as_str()), ("HOOKSENTRY_ENCRYPTION_KEY", SECOND_KEY)];
    let output = run(&["rewrap-keys"], &new_alone).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(last_line(&output).contains("were not changed: 2 with the key"), "{}", said(&output));

    let both = format!("{SECOND_KEY},{FIRST_KEY}");
    let new_before_old = [("DATABASE_URL", url.as_str()), ("HOOKSENTRY_ENCRYPTION_KEY", both.as_str())];
    let output = run(&["rewrap-keys"], &new_before_old).await;
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(printed.starts_with("2 of 2 data keys\n2 data keys were wrapped with"), "{printed}");
    let output = run(&["rewrap-keys"], &new_alone).await;
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(
        printed.starts_with("0 data keys were wrapped with") && printed.ends_with("; 2 were already\n"),
        "{printed}"
    );
    database.discard().await;
}

#[tokio::test]
async fn a_receiver_prints_its_address_and_stops_on_sigterm() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    install_tls();
    let secret = hooksentry::secrets::token::TokenKind::WebhookSecret.generate();
    let mut receiver = Command::new(env!("CARGO_BIN_EXE_hooksentry"))
        .args(["listen", "--listen", "127.0.0.1:0", "--secret", secret.expose_secret()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(receiver.stdout.take().expect("its output")).lines();
    let first = lines.next_line().await.expect("text").expect("a line");
    let base =
        first.strip_prefix("receiving at ").and_then(|rest| rest.split(',').next()).expect("an address");
    assert!(first.ends_with(", verifying signatures"), "{first}");
    let answer = reqwest::Client::new().post(base).body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let id = receiver.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs").success());
    let status = tokio::time::timeout(Duration::from_secs(30), receiver.wait()).await.expect("it stops");
    assert!(status.expect("a status").success());
}
