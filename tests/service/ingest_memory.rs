//! Payloads that wait for a slow database use a bounded amount of memory.

use reqwest::StatusCode;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::Tenant;
use crate::harness::until;

#[tokio::test]
async fn payloads_beyond_the_part_of_their_tenant_are_refused_while_commits_wait() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector", &database.url())
        .with("HOOKSENTRY_MAX_PAYLOAD_BYTES", "256KiB")
        .with("HOOKSENTRY_INGEST_PAYLOAD_BYTES", "1MiB")
        .with("HOOKSENTRY_INGEST_REFUSAL_DELAY", "0s")
        .ready()
        .await;
    let (busy, other) = (Tenant::register(program.base()).await, Tenant::register(program.base()).await);
    let url = "http://127.0.0.1:9/hook";
    let (to_busy, to_other) = (busy.destination(url, 1).await, other.destination(url, 1).await);
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(150 << 10));
    let accepted = busy.try_ingest(&to_busy, payload.clone()).await.expect("an answer");
    assert_eq!(accepted.status(), StatusCode::ACCEPTED, "a single payload fits");

    let pool = database.pool().await;
    let mut slow = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE payloads IN SHARE MODE").execute(&mut *slow).await.expect("a lock");
    let first = busy.try_ingest(&to_busy, payload.clone());
    let meanwhile = async {
        let refusal = until("a refusal", async || {
            // It is accepted when it arrives before the first, so it does not wait for its answer for long.
            let request = busy.try_ingest(&to_busy, payload.clone());
            let answer = tokio::time::timeout(std::time::Duration::from_millis(500), request).await.ok()?;
            answer.ok().filter(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE)
        })
        .await;
        assert!(refusal.headers().contains_key("retry-after"));
        assert!(refusal.text().await.expect("a problem").contains("of this tenant"));
        let (answer, rolled_back) =
            tokio::join!(other.try_ingest(&to_other, payload.clone()), slow.rollback());
        rolled_back.expect("a rollback");
        assert_eq!(
            answer.expect("an answer").status(),
            StatusCode::ACCEPTED,
            "other tenants have their part"
        );
    };
    // Whichever of the two came first was held, and the other refused.
    let (first, ()) = tokio::join!(first, meanwhile);
    first.expect("an answer");
    program.kill().await;
    pool.close().await;
    database.discard().await;
}
