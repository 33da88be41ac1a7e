//! `openssl` 3, which knows neither notes nor trees: a signature and a commitment are what any tool computes.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evidence::leaf::EvidenceKey;
use evidence::note::{Note, VerifierKey};
use evidence::tree::TreeBuilder;
use tempfile::TempDir;

use super::{LogFolder, fact_leaf, run};
use crate::checkpoint::{log_key, witness_key};

/// What precedes the 32 bytes of an Ed25519 key in its DER form (RFC 8410, section 4).
const DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Whether openssl accepts a signature of a message.
fn accepts(key: &VerifierKey, message: &str, signature: &[u8]) -> bool {
    let folder = TempDir::new().expect("a temporary folder");
    let put = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    };
    let output = run(Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(put("key", &[DER_PREFIX.as_slice(), key.public_key()].concat()))
        .arg("-in")
        .arg(put("message", message.as_bytes()))
        .arg("-sigfile")
        .arg(put("signature", signature)));
    let said = String::from_utf8_lossy(&output.stdout);
    let verdict = ["Signature Verified Successfully", "Signature Verification Failure"];
    assert!(verdict.iter().any(|verdict| said.contains(verdict)), "openssl 3 is needed: {output:?}");
    output.status.success()
}

fn published_checkpoint() -> Note {
    let folder = LogFolder(TempDir::new().expect("a temporary folder"));
    let mut tree = TreeBuilder::new();
    tree.append([evidence::tree::Hash::of_leaf(fact_leaf(1).as_bytes())]);
    folder.put_checkpoint(&tree);
    Note::parse(&fs::read(folder.path().join("checkpoint")).unwrap()).unwrap()
}

#[test]
fn openssl_verifies_the_signature_of_a_log() {
    let note = published_checkpoint();
    let key = log_key("example.com/log", 1);
    let signature = note.signatures()[0].bytes();
    assert!(accepts(key.verifier(), note.text(), signature));
    assert!(!accepts(key.verifier(), &note.text().replace("\n1\n", "\n2\n"), signature));
    assert!(!accepts(log_key("example.com/log", 2).verifier(), note.text(), signature));
}

#[test]
fn openssl_verifies_the_cosignature_of_a_witness() {
    let note = published_checkpoint();
    let key = witness_key(9);
    let signature = &note.signatures()[1].bytes()[8..];
    let message = |time: u64| format!("cosignature/v1\ntime {time}\n{}", note.text());
    assert!(accepts(key.verifier(), &message(1_795_271_520), signature));
    assert!(!accepts(key.verifier(), &message(1_795_271_521), signature));
}

/// The salt of a fact follows from the key of the tenant, and the commitment from the salt.
#[test]
fn openssl_computes_the_commitments_of_a_leaf() {
    let folder = TempDir::new().expect("a temporary folder");
    let hmac = |key: &[u8], message: &str| {
        let path: &Path = &folder.path().join("message");
        fs::write(path, message).expect("a file");
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let output = run(Command::new("openssl")
            .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{key}"), "-binary"])
            .arg(path));
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let stream_id = "0190c2de-6b1c-7000-8000-000000000001";
    let salt = hmac(&[7; 32], &format!("WebhookEvent/{stream_id}/1"));
    let expected = EvidenceKey::new(&[7; 32]).fact_salt("WebhookEvent", stream_id, 1).unwrap();
    assert_eq!(salt, expected.as_bytes());
    let leaf = fact_leaf(1);
    let commitment = STANDARD.encode(hmac(&salt, r#"{"status": 200}"#));
    assert!(leaf.ends_with(&format!("fact     {commitment}\n")), "{leaf}");
}
