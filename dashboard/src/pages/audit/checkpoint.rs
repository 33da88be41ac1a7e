//! A signed checkpoint (C2SP tlog-checkpoint), and the public keys of a log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Bytes of the id of a key.
const KEY_ID_BYTES: usize = 4;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Name of the log.
    pub(super) log: String,
    /// Entries of the log.
    pub(super) size: u64,
    /// Base64 of the hash that determines all entries.
    pub(super) root: String,
    /// Names of the other keys that have signed it: witnesses.
    pub(super) cosigned_by: Vec<String>,
    /// The whole text.
    pub(super) note: String,
}

impl Checkpoint {
    /// Reads a checkpoint; `None`: it is none.
    pub(super) fn read(note: String) -> Option<Self> {
        let (text, signatures) = note.split_once("\n\n")?;
        let mut lines = text.lines();
        let (log, size, root) =
            (lines.next()?.to_owned(), lines.next()?.parse().ok()?, lines.next()?.to_owned());
        let signers = signatures.lines().filter_map(|line| line.strip_prefix("— ")?.split(' ').next());
        let cosigned_by = signers.filter(|signer| *signer != log).map(str::to_owned).collect();
        Some(Self { log, size, root, cosigned_by, note })
    }
}

/// Returns a key of the installation as that of another log with the same key: the id depends on the name.
pub(super) fn key_of_log(key: &str, log: &str) -> Option<String> {
    let encoded = key.splitn(3, '+').nth(2)?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let digest = Sha256::new().chain_update(log).chain_update("\n").chain_update(bytes).finalize();
    Some(format!("{log}+{}+{encoded}", hex::encode(&digest[..KEY_ID_BYTES])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read() {
        let note = "a.example/log/7\n12\nAAAA\n\n— a.example/log/7 c2ln\n— witness.example b3RoZXI=\n";
        let read = Checkpoint::read(note.to_owned()).unwrap();
        assert_eq!((read.log.as_str(), read.size, read.root.as_str()), ("a.example/log/7", 12, "AAAA"));
        assert_eq!(read.cosigned_by, ["witness.example"]);
        for bad in ["", "a\n1\nb\n", "a\nmany\nb\n\n— a b\n"] {
            assert_eq!(Checkpoint::read(bad.to_owned()), None, "{bad}");
        }
    }

    /// The key and its id are those of the Go package `golang.org/x/mod/sumdb/note`.
    #[test]
    fn the_id_of_a_key_follows_from_the_name() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(key_of_log(key, "PeterNeumann").as_deref(), Some(key));
        assert_ne!(key_of_log(key, "Other").as_deref(), Some(key));
        assert_eq!(key_of_log("no key", "Other"), None);
    }
}
