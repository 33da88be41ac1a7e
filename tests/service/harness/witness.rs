//! Witnesses: processes of `hooksentry witness`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use evidence::checkpoint::Checkpoint;
use evidence::note::{CosignerKey, SignerKey, VerifierKey};
use evidence::tree::{Hash, ProofPlan, Tile, TileSet, TreeBuilder, TreeHead};
use evidence::witness::AddCheckpoint;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::client;

/// A running witness of one log. It is killed when it is dropped.
pub(crate) struct Witness {
    child: Child,
    pub(crate) base: String,
    pub(crate) key_file: PathBuf,
}

impl Witness {
    /// Starts a witness whose key and state are in a folder, at a port or, if it is 0, at any.
    pub(crate) async fn start(folder: &Path, key: &CosignerKey, log: &VerifierKey, port: u16) -> Self {
        let key_file = folder.join("key");
        std::fs::write(&key_file, key.to_secret_text() + "\n").expect("a key");
        let mut child =
            command(&key_file, &folder.join("state"), log, port).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next_line().await.expect("its output").expect("its address");
        let (vkey, base) = line.split_once(" at ").expect("key and address");
        assert_eq!(vkey, key.verifier().to_string());
        Self { child, base: base.to_owned(), key_file }
    }

    /// Submits a checkpoint. Returns the status and the text of the answer.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let answer = client().post(format!("{}/add-checkpoint", self.base)).body(body).send().await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a child process");
    }
}

pub(crate) fn command(key_file: &Path, state: &Path, log: &VerifierKey, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command.args(["witness", "--listen", &format!("127.0.0.1:{port}"), "--log", "warn", "--key-file"]);
    command.arg(key_file).args(["--log-key", &log.to_string(), "--state"]).arg(state);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// A history: the entries of a log, of which another history has others from some index on.
pub(crate) struct History {
    tiles: TileSet,
    heads: Vec<TreeHead>,
}

impl History {
    pub(crate) fn new(size: u64, differs_from: u64) -> Self {
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

    /// The checkpoint of a log with the name of the key.
    pub(crate) fn checkpoint(&self, key: &SignerKey, size: u64) -> Checkpoint {
        let tree = self.heads[usize::try_from(size).unwrap()];
        Checkpoint { origin: key.verifier().name().clone(), tree }
    }

    /// The request to cosign the tree of `size` entries after that of `old`.
    pub(crate) fn request(&self, key: &SignerKey, old: u64, size: u64) -> String {
        let proof = ProofPlan::consistency(old, size).unwrap().hashes(&self.tiles).unwrap();
        let checkpoint = self.checkpoint(key, size).sign(key);
        AddCheckpoint { old_size: old, proof, checkpoint }.to_string()
    }
}
