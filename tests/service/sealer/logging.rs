//! What is logged of facts and of checkpoints.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::checkpoint::SignedCheckpoint;
use uuid::Uuid;

use super::{NAME, hmac, leaf_hash, root_of, signer, tenant, with_keys};
use crate::harness::log_fixture::Fixture;

#[tokio::test]
async fn the_signed_head_of_each_tenant_is_that_of_all_its_facts_in_the_order_of_the_log() {
    let fixture = Fixture::new().await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    // Sizes around the limits of tiles, and more than one page.
    let sizes = [(1, 1), (2, 255), (3, 256), (4, 257), (5, 513), (6, 4_100)];
    for (number, size) in sizes {
        fixture.append_facts(tenant(number), size / 2).await;
    }
    assert_eq!(fixture.seal_all(&mut term).await, 5);
    for (number, size) in sizes {
        fixture.append_facts(tenant(number), size - size / 2).await;
    }
    assert_eq!(fixture.seal_all(&mut term).await, 6);

    for (number, size) in sizes {
        let sealed = fixture.assert_sealed(tenant(number)).await;
        assert_eq!(sealed.head().size, size.cast_unsigned());
        sealed.is_signed_with(&[1]);
    }
    assert_eq!(term.seal().await.expect("an answer"), 0, "nothing has grown");
    fixture.discard().await;
}

#[tokio::test]
async fn the_log_of_the_installation_has_one_entry_for_each_checkpoint_and_hides_its_contents() {
    let fixture = Fixture::new().await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    for round in 1..=3 {
        for number in 1..=round {
            fixture.append_facts(tenant(number), 1).await;
        }
        fixture.seal_all(&mut term).await;
    }

    let checkpoints: Vec<(Uuid, Uuid, i64, String)> = sqlx::query_as(
        "SELECT log_id, tenant_id, size, note FROM evidence_checkpoints
         WHERE tenant_id IS NOT NULL ORDER BY installation_index",
    )
    .fetch_all(&fixture.pool)
    .await
    .expect("checkpoints");
    assert_eq!(checkpoints.len(), 6);
    let mut leaves = vec![];
    for (log_id, tenant, size, note) in checkpoints {
        let salt = hmac(&fixture.evidence_key(tenant).await, format!("checkpoint/{size}").as_bytes());
        let commitment = STANDARD.encode(hmac(&salt, note.as_bytes()));
        let entry = format!("hooksentry.dev/checkpoint/v1\nlog {log_id}\ncheckpoint {commitment}\n");
        leaves.push(leaf_hash(entry.as_bytes()));
    }
    let note: String = sqlx::query_scalar(
        "SELECT note FROM evidence_checkpoints WHERE tenant_id IS NULL ORDER BY size DESC LIMIT 1",
    )
    .fetch_one(&fixture.pool)
    .await
    .expect("a checkpoint");
    let signed = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    assert_eq!(signed.checkpoint().origin.as_str(), NAME);
    assert_eq!(signed.checkpoint().tree.size, 6);
    assert_eq!(*signed.checkpoint().tree.root.as_bytes(), root_of(&leaves));
    signed.verify_log(&[signer(1).verifier().clone()]).expect("a valid signature");
    fixture.discard().await;
}

#[tokio::test]
async fn full_tiles_are_stored_once_and_take_less_than_forty_bytes_for_each_fact() {
    let fixture = Fixture::new().await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    let mut sizes = vec![];
    for tiles in [40, 160] {
        fixture.append_facts(tenant(1), 256 * tiles).await;
        fixture.seal_all(&mut term).await;
        sizes.push(fixture.number("SELECT pg_total_relation_size('evidence_tiles')").await);
    }
    assert_eq!(fixture.number("SELECT count(*) FROM evidence_tiles").await, 200);
    // A small table has pages that hardly grow with it.
    let bytes = sizes[1] - sizes[0];
    assert!(bytes < 40 * 256 * 160, "{bytes}");
    fixture.discard().await;
}

#[tokio::test]
async fn facts_of_a_tenant_whose_key_was_deleted_have_leaves_that_say_nothing() {
    let fixture = Fixture::new().await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    fixture.append_facts(tenant(1), 3).await;
    fixture.append_facts(tenant(2), 3).await;
    fixture.seal_all(&mut term).await;
    let leaves = fixture.leaves_of_log(tenant(1)).await;
    drop(term);

    fixture.execute("DELETE FROM data_keys WHERE tenant_id = '00000000-0000-0000-0000-000000000001'").await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    fixture.append_facts(tenant(1), 1).await;
    fixture.append_facts(tenant(2), 1).await;
    assert_eq!(fixture.seal_all(&mut term).await, 2);
    fixture.assert_sealed(tenant(2)).await;
    let erased = fixture.last_sealed(tenant(1)).await.expect("a checkpoint");
    assert_eq!(erased.head().size, leaves.len() as u64 + 1);
    assert_eq!(fixture.number("SELECT count(*) FROM data_keys").await, 1, "no other key takes its place");
    fixture.discard().await;
}
