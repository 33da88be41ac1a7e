//! `hooksentry witness`: logs that only grow are cosigned, and no log is cosigned with two histories, not even across a
//! crash.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use evidence::checkpoint::{Checkpoint, SignedCheckpoint};
use evidence::note::{CosignerKey, SignerKey, parse_signatures};
use evidence::policy::Policy;
use evidence::tree::{Hash, ProofPlan, Tile, TileSet, TreeBuilder, TreeHead};
use evidence::witness::AddCheckpoint;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::client;
use crate::harness::process::run;

const ORIGIN: &str = "hooks.example.com";

fn log_key(name: &str) -> SignerKey {
    SignerKey::from_seed(name.parse().unwrap(), &[1; 32])
}

fn cosigner() -> CosignerKey {
    CosignerKey::from_seed("witness.example.org".parse().unwrap(), &[9; 32])
}

/// A history: the entries of a log, of which another history has others from some index on.
struct History {
    tiles: TileSet,
    heads: Vec<TreeHead>,
}

impl History {
    fn new(size: u64, differs_from: u64) -> Self {
        let mut tree = TreeBuilder::new();
        let (mut tiles, mut heads): (Vec<Tile>, _) = (vec![], vec![tree.head()]);
        for index in 0..size {
            let entry = if index < differs_from { "entry" } else { "another entry" };
            tiles.extend(tree.append([Hash::of_leaf(format!("{entry} {index}").as_bytes())]));
            heads.push(tree.head());
        }
        tiles.extend(tree.partial_tiles());
        Self { tiles: tiles.into_iter().collect(), heads }
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint { origin: ORIGIN.parse().unwrap(), tree: self.heads[usize::try_from(size).unwrap()] }
    }

    /// The request to cosign the tree of `size` entries after that of `old`.
    fn request(&self, old: u64, size: u64) -> String {
        self.request_signed_by(&log_key(ORIGIN), old, size)
    }

    fn request_signed_by(&self, key: &SignerKey, old: u64, size: u64) -> String {
        let proof = ProofPlan::consistency(old, size).unwrap().hashes(&self.tiles).unwrap();
        AddCheckpoint { old_size: old, proof, checkpoint: self.checkpoint(size).sign(key) }.to_string()
    }
}

/// A running witness. It is killed when it is dropped.
struct Witness {
    child: Child,
    base: String,
    key_file: PathBuf,
}

impl Witness {
    async fn start(folder: &Path) -> Self {
        let key_file = folder.join("key");
        std::fs::write(&key_file, cosigner().to_secret_text() + "\n").expect("a key");
        let mut child = command(&key_file, &folder.join("state")).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next_line().await.expect("its output").expect("its address");
        let (key, base) = line.split_once(" at ").expect("key and address");
        assert_eq!(key, cosigner().verifier().to_string());
        Self { child, base: base.to_owned(), key_file }
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let answer = client().post(format!("{}/add-checkpoint", self.base)).body(body).send().await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("a child process");
    }
}

fn command(key_file: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command.args(["witness", "--listen", "127.0.0.1:0", "--log", "warn", "--key-file"]).arg(key_file);
    command.args(["--log-key", &log_key(ORIGIN).verifier().to_string(), "--state"]).arg(state);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
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
    let witness = Witness::start(folder.path()).await;
    let (ours, theirs) = (History::new(600, 600), History::new(600, 250));
    assert_cosigned(witness.post(ours.request(0, 300)).await, ours.checkpoint(300));
    // The same history again, then longer.
    assert_cosigned(witness.post(ours.request(300, 300)).await, ours.checkpoint(300));
    assert_cosigned(witness.post(ours.request(300, 400)).await, ours.checkpoint(400));
    assert_eq!(witness.post(ours.request(300, 500)).await, (409, "400\n".to_owned()));

    // The same key signs another history: of the same size, of a larger one, and from the start.
    assert_eq!(witness.post(theirs.request(400, 400)).await, (409, "400\n".to_owned()));
    let (status, said) = witness.post(theirs.request(400, 500)).await;
    assert_eq!(status, 422, "{said}");
    assert_eq!(witness.post(theirs.request(0, 300)).await, (409, "400\n".to_owned()));

    witness.kill().await;
    let witness = Witness::start(folder.path()).await;
    assert_eq!(witness.post(theirs.request(0, 300)).await, (409, "400\n".to_owned()));
    assert_eq!(witness.post(theirs.request(400, 500)).await.0, 422);
    assert_cosigned(witness.post(ours.request(400, 600)).await, ours.checkpoint(600));
}

#[tokio::test]
async fn of_two_histories_at_once_one_is_cosigned() {
    let folder = folder();
    let witness = Witness::start(folder.path()).await;
    let histories: Vec<History> = (0..8).map(|differs_from| History::new(20, differs_from)).collect();
    let requests = histories.iter().map(|history| witness.post(history.request(0, 20)));
    let answers = futures::future::join_all(requests).await;
    let cosigned: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(cosigned.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
}

#[tokio::test]
async fn requests_that_are_wrong_get_the_answers_of_the_standard() {
    let folder = folder();
    let witness = Witness::start(folder.path()).await;
    let history = History::new(300, 300);
    let other = history.request(0, 300).replace(ORIGIN, "other.example.com");
    for (body, status) in [
        ("nonsense".to_owned(), 400),
        (history.request(0, 300).replace("old 0", "old 301"), 400),
        (other, 404),
        (history.request_signed_by(&SignerKey::from_seed(ORIGIN.parse().unwrap(), &[2; 32]), 0, 300), 403),
        ("x".repeat(300_000), 413),
    ] {
        let (code, said) = witness.post(body.clone()).await;
        assert_eq!(code, status, "{said}");
    }
    let path = format!("{}/add-checkpoint", witness.base);
    assert_eq!(client().get(path).send().await.expect("an answer").status(), 405);
    assert_cosigned(witness.post(history.request(0, 300)).await, history.checkpoint(300));

    // One process uses the state at a time, and damaged state is not that of a new log.
    let second =
        command(&witness.key_file, &folder.path().join("state")).output().await.expect("the program");
    assert!(!second.status.success());
    for file in std::fs::read_dir(folder.path().join("state")).expect("a folder") {
        let path = file.expect("a file").path();
        if path.file_name().is_some_and(|name| name != "lock") {
            std::fs::write(path, "").expect("a file");
        }
    }
    assert_eq!(witness.post(history.request(0, 300)).await.0, 500);
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
