//! `hooksentry witness`: logs that only grow are cosigned, and no log is cosigned with two histories, not even across a
//! crash.

use std::path::Path;

use evidence::checkpoint::{Checkpoint, SignedCheckpoint};
use evidence::note::{CosignerKey, SignerKey, parse_signatures};
use evidence::policy::Policy;
use tempfile::TempDir;

use crate::harness::client;
use crate::harness::process::run;
use crate::harness::witness::{History, Witness, command};

const ORIGIN: &str = "hooks.example.com";

fn log_key(name: &str) -> SignerKey {
    SignerKey::from_seed(name.parse().unwrap(), &[1; 32])
}

fn cosigner() -> CosignerKey {
    CosignerKey::from_seed("witness.example.org".parse().unwrap(), &[9; 32])
}

/// Starts a witness in a folder.
async fn start(folder: &Path) -> Witness {
    Witness::start(folder, &cosigner(), log_key(ORIGIN).verifier(), 0).await
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Asserts that an answer is the cosignature of a checkpoint.
fn assert_cosigned(answer: (u16, String), checkpoint: Checkpoint) {
    assert_eq!(answer.0, 200, "{}", answer.1);
    let mut signed = checkpoint.sign(&log_key(ORIGIN));
    for cosignature in parse_signatures(&answer.1).expect("signatures") {
        signed.add(cosignature).expect("a cosignature");
    }
    let policy =
        format!("log {}\nwitness one {}\nquorum one\n", log_key(ORIGIN).verifier(), cosigner().verifier());
    let signed = SignedCheckpoint::parse(signed.to_string().as_bytes()).expect("a checkpoint");
    Policy::parse(policy.as_bytes()).expect("a policy").check(&signed).expect("enough cosignatures");
}

#[tokio::test]
async fn a_log_that_grows_is_cosigned_and_a_split_view_is_not_even_after_a_crash() {
    let folder = folder();
    let witness = start(folder.path()).await;
    let key = log_key(ORIGIN);
    let (ours, theirs) = (History::new(600, 600), History::new(600, 250));
    assert_cosigned(witness.post(ours.request(&key, 0, 300)).await, ours.checkpoint(&key, 300));
    // The same history again, then longer.
    assert_cosigned(witness.post(ours.request(&key, 300, 300)).await, ours.checkpoint(&key, 300));
    assert_cosigned(witness.post(ours.request(&key, 300, 400)).await, ours.checkpoint(&key, 400));
    assert_eq!(witness.post(ours.request(&key, 300, 500)).await, (409, "400\n".to_owned()));

    // The same key signs another history: of the same size, of a larger one, and from the start.
    assert_eq!(witness.post(theirs.request(&key, 400, 400)).await, (409, "400\n".to_owned()));
    let (status, said) = witness.post(theirs.request(&key, 400, 500)).await;
    assert_eq!(status, 422, "{said}");
    assert_eq!(witness.post(theirs.request(&key, 0, 300)).await, (409, "400\n".to_owned()));

    witness.kill().await;
    let witness = start(folder.path()).await;
    assert_eq!(witness.post(theirs.request(&key, 0, 300)).await, (409, "400\n".to_owned()));
    assert_eq!(witness.post(theirs.request(&key, 400, 500)).await.0, 422);
    assert_cosigned(witness.post(ours.request(&key, 400, 600)).await, ours.checkpoint(&key, 600));
}

#[tokio::test]
async fn of_two_histories_at_once_one_is_cosigned() {
    let folder = folder();
    let witness = start(folder.path()).await;
    let key = log_key(ORIGIN);
    let histories: Vec<History> = (0..8).map(|differs_from| History::new(20, differs_from)).collect();
    let requests = histories.iter().map(|history| witness.post(history.request(&key, 0, 20)));
    let answers = futures::future::join_all(requests).await;
    let cosigned: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(cosigned.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
}

#[tokio::test]
async fn requests_that_are_wrong_get_the_answers_of_the_standard() {
    let folder = folder();
    let witness = start(folder.path()).await;
    let (key, history) = (log_key(ORIGIN), History::new(300, 300));
    let other = history.request(&key, 0, 300).replace(ORIGIN, "other.example.com");
    for (body, status) in [
        ("nonsense".to_owned(), 400),
        (history.request(&key, 0, 300).replace("old 0", "old 301"), 400),
        (other, 404),
        (history.request(&SignerKey::from_seed(ORIGIN.parse().unwrap(), &[2; 32]), 0, 300), 403),
        ("x".repeat(300_000), 413),
    ] {
        let (code, said) = witness.post(body.clone()).await;
        assert_eq!(code, status, "{said}");
    }
    let path = format!("{}/add-checkpoint", witness.base);
    assert_eq!(client().get(path).send().await.expect("an answer").status(), 405);
    assert_cosigned(witness.post(history.request(&key, 0, 300)).await, history.checkpoint(&key, 300));

    // One process uses the state at a time, and damaged state is not that of a new log.
    let second = command(&witness.key_file, &folder.path().join("state"), key.verifier(), 0)
        .output()
        .await
        .expect("the program");
    assert!(!second.status.success());
    for file in std::fs::read_dir(folder.path().join("state")).expect("a folder") {
        let path = file.expect("a file").path();
        if path.file_name().is_some_and(|name| name != "lock") {
            std::fs::write(path, "").expect("a file");
        }
    }
    assert_eq!(witness.post(history.request(&key, 0, 300)).await.0, 500);
}

#[tokio::test]
async fn keygen_makes_a_key_of_a_witness() {
    let folder = folder();
    let file = folder.path().join("key");
    let path = file.to_str().expect("a path");
    let said =
        run(&["audit", "keygen", "--witness", "witness.example.org", path], "").await.succeeded().output;
    let private = std::fs::read_to_string(&file).expect("a private key");
    let key = CosignerKey::parse(private.trim_end()).expect("a key of a witness");
    assert_eq!(format!("{}\n", key.verifier()), said);
    assert_eq!(said, std::fs::read_to_string(folder.path().join("key.pub")).expect("a public key"));
}
