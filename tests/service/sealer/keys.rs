//! Keys that sign: missing ones, new ones, and how they are made.

use std::os::unix::fs::PermissionsExt;

use evidence::note::{SignerKey, VerifierKey};

use super::{NAME, signer, tenant, with_key_file, with_keys};
use crate::harness::log_fixture::Fixture;
use crate::harness::process::run;

/// The public keys that have signed, oldest first, and whether they are retired.
async fn key_history(fixture: &Fixture) -> Vec<(String, bool)> {
    sqlx::query_as("SELECT vkey, retired_at IS NOT NULL FROM evidence_log_keys ORDER BY since")
        .fetch_all(&fixture.pool)
        .await
        .expect("keys")
}

fn vkey(seed: u8) -> String {
    signer(seed).verifier().to_string()
}

#[tokio::test]
async fn without_a_key_trees_grow_and_the_first_key_signs_all_of_them() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let mut term = fixture.seal_term(&with_key_file(file.clone())).await;
    fixture.append_facts(tenant(1), 300).await;
    assert_eq!(fixture.seal_all(&mut term).await, 0);
    assert!(fixture.last_sealed(tenant(1)).await.is_none());

    std::fs::write(&file, "PRIVATE+KEY+damaged").expect("a file");
    assert_eq!(term.seal().await.expect("an answer"), 0);
    // The same process reads the key as soon as it is there.
    std::fs::write(&file, signer(1).to_secret_text() + "\n").expect("a file");
    assert_eq!(term.seal().await.expect("a signature"), 1);
    fixture.assert_sealed(tenant(1)).await.is_signed_with(&[1]);
    fixture.discard().await;
}

#[tokio::test]
async fn two_keys_sign_during_a_rotation_and_the_history_of_keys_stays() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    let mut term = fixture.seal_term(&with_key_file(file.clone())).await;
    for seeds in [&[1][..], &[1, 2], &[2]] {
        let keys: String = seeds.iter().map(|seed| signer(*seed).to_secret_text() + "\n").collect();
        std::fs::write(&file, keys).expect("a file");
        fixture.append_facts(tenant(1), 1).await;
        assert_eq!(fixture.seal_all(&mut term).await, 1);
        let sealed = fixture.assert_sealed(tenant(1)).await;
        sealed.is_signed_with(seeds);
    }
    assert_eq!(key_history(&fixture).await, [(vkey(1), true), (vkey(2), false)]);
    fixture.discard().await;
}

#[tokio::test]
async fn a_key_with_another_name_does_not_sign() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    fixture.append_facts(tenant(1), 1).await;
    let mut term = fixture.seal_term(&with_keys(&[1])).await;
    fixture.seal_all(&mut term).await;
    drop(term);

    let other = SignerKey::from_seed("other.example.com".parse().unwrap(), &[1; 32]);
    std::fs::write(&file, other.to_secret_text()).expect("a file");
    let mut term = fixture.seal_term(&with_key_file(file)).await;
    fixture.append_facts(tenant(1), 1).await;
    assert_eq!(fixture.seal_all(&mut term).await, 0);
    assert_eq!(fixture.last_sealed(tenant(1)).await.expect("the first").head().size, 1);
    assert_eq!(key_history(&fixture).await, [(vkey(1), false)]);
    fixture.discard().await;
}

#[tokio::test]
async fn keygen_writes_a_pair_that_only_its_owner_can_read_and_replaces_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log-key");
    let path = file.to_str().expect("a path");
    let said = run(&["audit", "keygen", NAME, path], "").await.succeeded().output;
    let private = std::fs::read_to_string(&file).expect("a private key");
    let public = std::fs::read_to_string(folder.path().join("log-key.pub")).expect("a public key");
    assert_eq!(said, public);
    let verifier: VerifierKey = public.trim_end().parse().expect("a vkey");
    assert_eq!(verifier.name().as_str(), NAME);
    assert_eq!(SignerKey::parse(private.trim_end()).expect("a skey").verifier(), &verifier);
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    run(&["audit", "keygen", NAME, path], "").await.failed_with(1, &["log-key cannot be written"]);
    assert_eq!(std::fs::read_to_string(&file).expect("a private key"), private);
    let other = folder.path().join("other");
    let refused = run(&["audit", "keygen", "a b", other.to_str().expect("a path")], "").await;
    refused.failed_with(1, &["NAME \"a b\" must not contain spaces"]);
}
