//! A new era of the log, after a restore.

use evidence::tree::Hash;

use super::{leaf_hash, root_of, tenant, with_keys};
use crate::harness::log_fixture::Fixture;
use crate::harness::process::run;

#[tokio::test]
async fn after_a_restore_other_logs_continue_and_name_the_last_heads_of_the_old_ones() {
    let fixture = Fixture::new().await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    fixture.append_facts(tenant(1), 300).await;
    fixture.append_facts(tenant(2), 1).await;
    fixture.seal_all(&mut term).await;
    // These facts have leaves, and no signed head covers them.
    fixture.append_facts(tenant(1), 2).await;
    let old = fixture.last_sealed(tenant(1)).await.expect("a checkpoint");
    let facts_before = fixture.leaves_of_log(tenant(1)).await.len();
    term.append().await.expect("a page");
    drop(term);
    // These have no leaves yet.
    fixture.append_facts(tenant(1), 3).await;
    run(&["restore", "--force"], &fixture.url()).await.succeeded();

    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    fixture.append_facts(tenant(1), 4).await;
    fixture.seal_all(&mut term).await;
    let new = fixture.last_sealed(tenant(1)).await.expect("a checkpoint");
    assert_ne!(new.log_id, old.log_id);
    new.is_signed_with(&[1]);

    // The old log ends with a signed head that covers all of its leaves.
    let (size, sealed_size): (i64, i64) =
        sqlx::query_as("SELECT size, sealed_size FROM evidence_trees WHERE log_id = $1")
            .bind(old.log_id)
            .fetch_one(&fixture.pool)
            .await
            .expect("the old tree");
    assert_eq!(size, sealed_size);
    let size = size.cast_unsigned() as usize;
    assert!((300..=facts_before).contains(&size), "{size}");
    let leaves = fixture.leaves_of_log(tenant(1)).await;
    let old_root = Hash::from_bytes(root_of(&leaves[..size]));
    let continuation =
        format!("hooksentry.dev/continuation/v1\nlog {}\nsize {size}\nroot {old_root}\n", old.log_id);
    let mut expected = vec![leaf_hash(continuation.as_bytes())];
    expected.extend(&leaves[size..]);
    assert_eq!(new.head().size, expected.len() as u64);
    assert_eq!(*new.head().root.as_bytes(), root_of(&expected));

    // A tenant without new facts has a log of the new era as well, so that its old head is not the last word.
    let quiet = fixture.last_sealed(tenant(2)).await.expect("a checkpoint");
    assert_eq!(quiet.head().size, 1);
    assert_eq!(fixture.number("SELECT count(*) FROM evidence_trees WHERE era = 1").await, 4);
    // The next leader of the same era begins no further logs.
    drop(term);
    drop(fixture.seal_term(&with_keys(&[1])).await);
    assert_eq!(fixture.number("SELECT count(*) FROM evidence_trees WHERE era = 1").await, 4);
    fixture.discard().await;
}
