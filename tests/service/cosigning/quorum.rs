//! Two of three witnesses must cosign.

use std::fs;

use evidence::checkpoint::SignedCheckpoint;
use evidence::proof::LogProof;
use serde_json::Value;

use super::{Installation, Witnesses, cosigner};

/// Whether a witness has cosigned a checkpoint.
fn has_cosigned(checkpoint: &SignedCheckpoint, name: &str) -> bool {
    checkpoint.note().verify([cosigner(name).verifier()]).is_ok()
}

#[tokio::test]
async fn a_checkpoint_is_shown_when_the_quorum_has_cosigned_it() {
    let witnesses = Witnesses::new(&["a", "b", "c"]);
    let policy = witnesses.lines() + "group two 2 a b c\nquorum two\n";
    let a = witnesses.start("a").await;
    let installation = Installation::start(&policy).await;
    installation.until_submitted("a", "cosigned").await;
    installation.until_submitted("b", "unreachable").await;

    // One is not enough: the log is signed, and nothing is shown.
    assert!(installation.shown().await.is_none());
    installation.tenant.owner().get("/api/v1/audit/log/checkpoint").await.expect(200);
    installation.tenant.owner().get("/api/v1/audit/log/proof").await.expect(404);
    let waits = |health: &Value| health["uncosignedEntries"].as_u64() > Some(0);
    installation.until_healthy("entries that are not cosigned", waits).await;
    let is_cosigned = |health: &Value| health["lastCosignedCheckpointAt"].is_string();

    // A witness that is started later gets the log from its beginning.
    let b = witnesses.start("b").await;
    let signed = installation.signed().await;
    let first = installation.until_shown(signed).await;
    assert!(has_cosigned(&first, "a") && has_cosigned(&first, "b") && !has_cosigned(&first, "c"));
    let proof = installation.tenant.get("audit/log/proof").await;
    let text = |name: &str| proof[name].as_str().expect(name);
    let proved = LogProof::parse(text("proof").as_bytes()).expect("a proof");
    proved.verify(text("entry").as_bytes(), &installation.policy).expect("a proof with the quorum");
    installation.until_healthy("a cosigned checkpoint", is_cosigned).await;

    // What was shown is shown as long as the witnesses are down.
    a.kill().await;
    b.kill().await;
    let signed = installation.grow().await;
    let shown = installation.shown().await.expect("a checkpoint").checkpoint().tree.size;
    assert!((first.checkpoint().tree.size..signed).contains(&shown), "{shown}");
    let _a = witnesses.start("a").await;
    // It has lost its state.
    fs::remove_dir_all(witnesses.folder("b").join("state")).expect("its state");
    let _b = witnesses.start("b").await;
    installation.until_shown(signed).await;
    assert_eq!(installation.submissions("c", "cosigned").await, 0);
    assert_eq!(installation.submissions("b", "fork").await, 0);
    installation.stop().await;
}

#[tokio::test]
async fn a_new_leader_asks_for_what_the_last_one_did_not_get() {
    let witnesses = Witnesses::new(&["a"]);
    let policy = witnesses.lines() + "quorum a\n";
    let installation = Installation::start(&policy).await;
    installation.until_submitted("a", "unreachable").await;
    let _a = witnesses.start("a").await;
    // The service asks without a new checkpoint: the leader's session ends, and nothing is appended.
    let signed = installation.signed().await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&installation.pool().await)
    .await
    .expect("its end");
    installation.until_shown(signed).await;
    installation.stop().await;
}
