//! A log that this crate writes, judged by programs that others wrote. `make setup` installs them.

mod go;
mod openssl;
mod tlog_scales;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use evidence::checkpoint::Checkpoint;
use evidence::entries;
use evidence::leaf::{EvidenceKey, FactLeaf};
use evidence::tree::{Hash, LogResource, TILE_WIDTH, Tile, TreeBuilder};
use tempfile::TempDir;

use crate::checkpoint::{log_key, witness_key};
use crate::tree::StoredTree;

/// Sizes of the logs that are judged: a leaf alone, a right edge, a full tile, and a partial tile after it.
const SIZES: [u64; 4] = [1, 3, 256, 300];

/// Files to alter, and a byte in each.
const ALTERED_FILES: [(&str, usize); 6] = [
    ("checkpoint", 3),
    ("tile/0/000", 40),
    ("tile/1/000.p/1", 0),
    ("tile/entries/001.p/44", 100),
    ("inclusion", 30),
    ("consistency", 30),
];

/// Log in a folder: its tiles and checkpoint as any tiled log serves them, and all proofs of its latest tree.
///
/// A line of `inclusion` has an index and the hashes of its proof; a line of `consistency` a size, the root of the tree
/// of that size, and the hashes of its proof.
struct LogFolder(TempDir);

impl LogFolder {
    fn write(size: u64) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        let leaves: Vec<String> = (1..=size).map(fact_leaf).collect();
        let mut tree = StoredTree::default();
        let mut heads = vec![];
        for leaf in &leaves {
            heads.push(tree.builder.head());
            tree.append([Hash::of_leaf(leaf.as_bytes())]);
        }
        for tile in tree.tiles() {
            folder.put(LogResource::Tile(tile.id()), tile.to_bytes());
        }
        for tile in tree.tiles().filter(|tile: &Tile| tile.id().level() == 0) {
            let first = usize::try_from(tile.id().index()).unwrap() * TILE_WIDTH;
            let of_tile = leaves[first..first + tile.id().width()].iter().map(String::as_bytes);
            folder.put(LogResource::Entries(tile.id()), entries::encode(of_tile).unwrap());
        }
        let inclusion = (0..size).map(|index| line(index.to_string(), &tree.inclusion_proof(index)));
        folder.put("inclusion", inclusion.collect::<String>());
        let consistency = heads[1..]
            .iter()
            .map(|head| line(format!("{} {}", head.size, head.root), &tree.consistency_proof(head.size)));
        folder.put("consistency", consistency.collect::<String>());
        folder.put_checkpoint(&tree.builder);
        folder
    }

    /// Writes a log and then changes one bit of a file.
    fn altered(size: u64, file: &str, at: usize) -> Self {
        let folder = Self::write(size);
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).expect("a file of the log");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("a file of the log");
        folder
    }

    fn put_checkpoint(&self, tree: &TreeBuilder) {
        let checkpoint = Checkpoint { origin: "example.com/log".parse().unwrap(), tree: tree.head() };
        let key = log_key("example.com/log", 1);
        let mut signed = checkpoint.clone().sign(&key);
        signed.add(witness_key(9).cosign(&checkpoint, 1_795_271_520)).unwrap();
        self.put(LogResource::Checkpoint, signed.to_string());
        self.put("log.vkey", key.verifier().to_string());
        self.put("witness.vkey", witness_key(9).verifier().to_string());
    }

    fn put(&self, file: impl ToString, content: impl AsRef<[u8]>) {
        let path = self.path().join(file.to_string());
        fs::create_dir_all(path.parent().expect("the folder")).expect("a folder of the log");
        fs::write(path, content).expect("a file of the log");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn line(first: String, hashes: &[Hash]) -> String {
    hashes.iter().fold(first, |line, hash| format!("{line} {hash}")) + "\n"
}

fn fact_leaf(sequence: u64) -> String {
    let (stream_type, stream_id) = ("WebhookEvent", "0190c2de-6b1c-7000-8000-000000000001");
    let salt = EvidenceKey::new(&[7; 32]).fact_salt(stream_type, stream_id, sequence).unwrap();
    let leaf = FactLeaf {
        stream_type,
        stream_id,
        sequence,
        fact_type: "DeliveryAttempted",
        fact_version: "1",
        recorded_micros: 1_795_271_520_125_000,
        metadata: "{}",
        fact: r#"{"status": 200}"#,
    };
    leaf.entry(&salt).unwrap()
}

/// Has a judge verify genuine logs, which it must accept, and altered ones, which it must refuse. The judge takes
/// folders of logs as arguments and prints a line for each.
fn judge(command: &mut Command) {
    let genuine = SIZES.map(LogFolder::write);
    let altered = ALTERED_FILES.map(|(file, at)| LogFolder::altered(300, file, at));
    let output = run(command.args(genuine.iter().chain(&altered).map(LogFolder::path)));
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), genuine.len() + altered.len(), "{said:?}");
    assert!(said[..genuine.len()].iter().all(|line| *line == "accepted"), "{said:?}");
    for (line, (file, _)) in said[genuine.len()..].iter().zip(ALTERED_FILES) {
        assert!(line.starts_with("refused: "), "a log with an altered {file} is {line}");
    }
}

fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{program:?}, which `make setup` installs: {error}"))
}
