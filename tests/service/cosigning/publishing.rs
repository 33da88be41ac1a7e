//! Which checkpoint is shown, with and without a policy.

use std::fs;
use std::path::Path;

use hooksentry::sealer::Witnesses as PolicyOfWitnesses;
use serde_json::Value;

use super::{Installation, Witnesses, signer, witness_line};
use crate::harness::log_fixture::Fixture;
use crate::harness::process::Launch;
use crate::harness::until;
use crate::sealer::{tenant, with_keys};

const PUBLISHED: &str = "SELECT coalesce(published_size, -1) FROM evidence_trees WHERE tenant_id IS NULL";
const SIGNED: &str = "SELECT sealed_size FROM evidence_trees WHERE tenant_id IS NULL";

#[tokio::test]
async fn what_was_shown_without_a_policy_is_shown_until_the_quorum_has_cosigned_more() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy");
    fs::write(&policy, witness_line("a", "http://127.0.0.1:9") + "quorum a\n").expect("a policy");
    let mut settings = with_keys(&[1]);
    let mut shown = vec![];
    for policy in [None, Some(&policy), Some(&policy), None] {
        settings.witness_policy = policy.cloned();
        let witnesses = PolicyOfWitnesses::read(&settings).expect("a policy");
        let sealer = fixture.sealer(&settings).with_witnesses(witnesses);
        let mut term = sealer.lead().await.expect("the lead");
        fixture.append_facts(tenant(1), 1).await;
        assert_eq!(fixture.seal_all(&mut term).await, 1);
        shown.push((fixture.number(SIGNED).await, fixture.number(PUBLISHED).await));
    }
    // -1: the last signed one.
    assert_eq!(shown, [(1, -1), (2, 1), (3, 1), (4, -1)]);
    fixture.discard().await;
}

#[tokio::test]
async fn a_log_that_begins_with_a_policy_shows_nothing_before_the_quorum() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy");
    fs::write(&policy, witness_line("a", "http://127.0.0.1:9") + "quorum a\n").expect("a policy");
    let mut settings = with_keys(&[1]);
    settings.witness_policy = Some(policy);
    let witnesses = PolicyOfWitnesses::read(&settings).expect("a policy");
    let mut term = fixture.sealer(&settings).with_witnesses(witnesses).lead().await.expect("the lead");
    fixture.append_facts(tenant(1), 1).await;
    fixture.seal_all(&mut term).await;
    assert_eq!(fixture.number(PUBLISHED).await, 0);
    fixture.discard().await;
}

#[tokio::test]
async fn with_the_quorum_none_every_signed_checkpoint_is_shown_with_the_cosignatures_that_it_has() {
    let witnesses = Witnesses::new(&["a", "dead"]);
    let _a = witnesses.start("a").await;
    let installation = Installation::start(&(witnesses.lines() + "quorum none\n")).await;
    installation.until_submitted("dead", "unreachable").await;
    let signed = installation.grow().await;
    installation.until_shown(signed).await;
    until("the cosignature of the one that runs", async || {
        let shown = installation.shown().await?;
        (shown.note().signatures().len() == 2).then_some(())
    })
    .await;
    let none_waits = |health: &Value| health["uncosignedEntries"] == 0;
    installation.until_healthy("no entries that are not cosigned", none_waits).await;
    installation.stop().await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy");
    let database = crate::harness::postgres::TestDatabase::create().await;
    let start = async |file: &Path| {
        Launch::serve("sealer", &database.url())
            .with("HOOKSENTRY_EVIDENCE_KEY", &signer().to_secret_text())
            .with("HOOKSENTRY_WITNESS_POLICY", file.to_str().expect("a path"))
            .refused()
            .await
    };
    let missing = start(&file).await;
    assert!(missing.contains("HOOKSENTRY_WITNESS_POLICY") && missing.contains("cannot be read"), "{missing}");
    fs::write(&file, witness_line("a", "") + "quorum a\n").expect("a policy");
    let no_url = start(&file).await;
    assert!(no_url.contains("the witness a must have a URL"), "{no_url}");
    database.discard().await;
}
