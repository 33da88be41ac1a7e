//! Checkpoints and cosignatures.

use evidence::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use evidence::note::{CosignerKey, KeyNameError, NoteError, SignerKey, VerifierKey, VerifyError};
use evidence::tree::{Hash, TREE_SIZE_MAX, TreeHead};
use proptest::prelude::*;

/// The example of C2SP tlog-cosignature, whose keys are not published.
const EXAMPLE: &str = "example.com/behind-the-sofa\n\
    20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
    \n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

pub(crate) fn log_key(origin: &str, seed: u8) -> SignerKey {
    SignerKey::from_seed(origin.parse().unwrap(), &[seed; 32])
}

pub(crate) fn witness_key(seed: u8) -> CosignerKey {
    CosignerKey::from_seed(format!("witness.example/{seed}").parse().unwrap(), &[seed; 32])
}

pub(crate) fn checkpoint(size: u64) -> Checkpoint {
    let tree = TreeHead { size, root: Hash::of_leaf(&size.to_be_bytes()) };
    Checkpoint { origin: "example.com/log".parse().unwrap(), tree }
}

#[test]
fn the_example_of_the_standard_is_read_and_written() {
    let signed = SignedCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
    let checkpoint = signed.checkpoint();
    assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.tree.size, 20_852_163);
    assert_eq!(checkpoint.tree.root.to_string(), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    assert_eq!(checkpoint.text(), EXAMPLE.split_inclusive('\n').take(3).collect::<String>());
    assert_eq!(signed.note().signatures().len(), 2);
    assert_eq!(signed.to_string(), EXAMPLE);
}

#[test]
fn a_checkpoint_has_exactly_one_form() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for (text, expected) in [
        (format!("example.com/log\n1\n{root}"), CheckpointError::Lines),
        (format!("example.com/log\n1\n{root}\nextension\n"), CheckpointError::Lines),
        (format!("example.com/log\n1\n{root}\n\n"), CheckpointError::Lines),
        ("example.com/log\n1\n".to_owned(), CheckpointError::Lines),
        (format!("\n1\n{root}\n"), CheckpointError::Origin(KeyNameError::Length(0))),
        (format!("a log\n1\n{root}\n"), CheckpointError::Origin(KeyNameError::Character(1))),
        (format!("example.com/log\n01\n{root}\n"), CheckpointError::Size),
        (format!("example.com/log\n+1\n{root}\n"), CheckpointError::Size),
        (format!("example.com/log\n1 \n{root}\n"), CheckpointError::Size),
        (format!("example.com/log\n\n{root}\n"), CheckpointError::Size),
        (format!("example.com/log\n{}\n{root}\n", TREE_SIZE_MAX + 1), CheckpointError::Size),
        (format!("example.com/log\n1\n{}\n", root.replace('=', "")), CheckpointError::Root),
        (format!("example.com/log\n1\n{}\n", root.replace("I=", "J=")), CheckpointError::Root),
        ("example.com/log\n1\nCsUYapGGPo4=\n".to_owned(), CheckpointError::Root),
        (format!("example.com/log\n1\n {root}\n"), CheckpointError::Root),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(expected), "{text}");
    }
    assert!(Checkpoint::parse(&format!("example.com/log\n0\n{root}\n")).is_ok());
    let unsigned = SignedCheckpoint::parse(checkpoint(3).text().as_bytes());
    assert_eq!(unsigned, Err(CheckpointError::Note(NoteError::NoSignatures)));
}

#[test]
fn the_log_signs_with_a_key_of_its_name() {
    let (key, next) = (log_key("example.com/log", 1), log_key("example.com/log", 2));
    let mut signed = checkpoint(3).sign(&key);
    signed.sign(&next).unwrap();
    let parsed = SignedCheckpoint::parse(signed.to_string().as_bytes()).unwrap();
    assert_eq!(parsed, signed);
    let keys = [key.verifier().clone(), next.verifier().clone()];
    assert_eq!(parsed.verify_log(&keys).unwrap().len(), 2);
    assert_eq!(parsed.verify_log(&keys[1..]).unwrap().len(), 1);

    let other = log_key("example.com/other", 1);
    let by_other = checkpoint(3).sign(&other);
    assert_eq!(by_other.verify_log(&[other.verifier().clone()]).unwrap_err(), VerifyError::NoKnownKey);
}

#[test]
fn a_cosignature_says_when_it_was_made() {
    let witness = witness_key(9);
    let mut signed = checkpoint(3).sign(&log_key("example.com/log", 1));
    let cosignature = witness.cosign(&checkpoint(3), 1_795_271_520);
    assert_eq!(cosignature.bytes()[..8], 1_795_271_520_u64.to_be_bytes());
    signed.add(cosignature).unwrap();
    let verified = signed.note().verify([witness.verifier()]).unwrap();
    assert_eq!(verified[0].timestamp, Some(1_795_271_520));
    // A witness is not the log.
    assert_eq!(signed.verify_log(&[witness.verifier().clone()]).unwrap_err(), VerifyError::NoKnownKey);
}

#[test]
fn a_cosignature_fits_one_checkpoint_and_one_time() {
    let witness = witness_key(9);
    let invalid =
        VerifyError::Invalid { name: witness.verifier().name().clone(), key_id: witness.verifier().id() };
    let with = |signature: String| {
        let signed = checkpoint(3).sign(&log_key("example.com/log", 1));
        let note = format!("{signed}{signature}\n");
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        signed.note().verify([witness.verifier()]).map(|verified| verified.len())
    };
    assert_eq!(with(witness.cosign(&checkpoint(3), 7).to_string()), Ok(1));
    assert_eq!(with(witness.cosign(&checkpoint(4), 7).to_string()), Err(invalid.clone()));
    // The standard forbids times above 2^63 - 1.
    assert_eq!(with(witness.cosign(&checkpoint(3), u64::MAX).to_string()), Err(invalid.clone()));

    let early = witness.cosign(&checkpoint(3), 0x01_02_03_04).to_string();
    let name_and_time = witness.cosign(&checkpoint(3), 0x01_02_03_05).to_string();
    // Key id and time are twelve bytes, 16 characters of base64.
    let split = early.rfind(' ').unwrap() + 1 + 16;
    let later = format!("{}{}", &name_and_time[..split], &early[split..]);
    assert_ne!(early, later);
    assert_eq!(with(later), Err(invalid));
}

proptest! {
    #[test]
    fn checkpoints_round_trip(origin in "[a-z./]{1,40}", size in 0..=TREE_SIZE_MAX, root: [u8; 32]) {
        let tree = TreeHead { size, root: Hash::from_bytes(root) };
        let checkpoint = Checkpoint { origin: origin.parse().unwrap(), tree };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint.clone()));
        let key = log_key(&origin, 1);
        let signed = SignedCheckpoint::parse(checkpoint.sign(&key).to_string().as_bytes()).unwrap();
        let keys: [VerifierKey; 1] = [key.verifier().clone()];
        prop_assert!(signed.verify_log(&keys).is_ok());
    }

    #[test]
    fn what_is_accepted_is_canonical(text in "[a-z ]{0,9}\n[0-9+ ]{0,25}\n[A-Za-z0-9+/]{42,44}=?\n?(.*\n)?") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.text(), text);
        }
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, text: String) {
        let _ = SignedCheckpoint::parse(&bytes);
        let _ = Checkpoint::parse(&text);
    }
}
