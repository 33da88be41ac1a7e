//! Policies: parsing, and which checkpoints they trust.

use evidence::checkpoint::SignedCheckpoint;
use evidence::note::{KeyError, VerifyError};
use evidence::policy::{Distrust, POLICY_BYTES_MAX, Policy, PolicyError, PolicyProblem};
use proptest::prelude::*;

use crate::checkpoint::{checkpoint, log_key, witness_key};

fn log_vkey(seed: u8) -> String {
    log_key("example.com/log", seed).verifier().to_string()
}

fn witness_vkey(seed: u8) -> String {
    witness_key(seed).verifier().to_string()
}

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

/// Checkpoint signed by the log with key 1 and by witnesses.
fn cosigned(witnesses: &[u8]) -> SignedCheckpoint {
    let mut signed = checkpoint(3).sign(&log_key("example.com/log", 1));
    for seed in witnesses {
        signed.add(witness_key(*seed).cosign(&checkpoint(3), 1)).unwrap();
    }
    signed
}

/// The example of the standard: two of the witnesses 11 to 13, and one of 21 to 23.
fn two_levels() -> Policy {
    let mut text = format!("log {}\n\n", log_vkey(1));
    for seed in [11, 12, 13, 21, 22, 23] {
        text += &format!("witness W{seed} {}\n", witness_vkey(seed));
    }
    text += "group X-witnesses 2 W11 W12 W13\n\
        group Y-witnesses any W21 W22 W23\n\
        group X-and-Y all X-witnesses Y-witnesses\n\
        quorum X-and-Y\n";
    policy(&text)
}

#[test]
fn groups_of_groups_make_a_quorum() {
    let policy = two_levels();
    for (witnesses, expected) in [
        (vec![11, 12, 21], Ok(3)),
        (vec![13, 11, 23, 22], Ok(4)),
        (vec![11, 21, 22], Err(Distrust::Quorum { cosigned: 3 })),
        (vec![11, 12, 13], Err(Distrust::Quorum { cosigned: 3 })),
        (vec![11, 11, 21], Err(Distrust::Quorum { cosigned: 2 })),
        (vec![11, 12, 99], Err(Distrust::Quorum { cosigned: 2 })),
        (vec![], Err(Distrust::Quorum { cosigned: 0 })),
    ] {
        let result = policy.check(&cosigned(&witnesses)).map(|trusted| trusted.witnesses.len());
        assert_eq!(result, expected, "{witnesses:?}");
    }
}

#[test]
fn a_log_must_have_signed() {
    let mut unknown = policy("quorum none\n");
    assert_eq!(unknown.check(&cosigned(&[])).unwrap_err(), Distrust::Log(VerifyError::NoKnownKey));
    unknown.add_log(log_key("example.com/log", 2).verifier().clone());
    assert_eq!(unknown.check(&cosigned(&[])).unwrap_err(), Distrust::Log(VerifyError::NoKnownKey));
    unknown.add_log(log_key("example.com/log", 1).verifier().clone());
    assert_eq!(unknown.check(&cosigned(&[])).unwrap().log.len(), 1);

    let (unsigned, quorum) = (policy("quorum none\n"), two_levels());
    assert!(!unsigned.requires_witnesses() && quorum.requires_witnesses());
    assert_eq!(quorum.check_witnesses(&cosigned(&[11, 12, 21])).unwrap().len(), 3);
    assert_eq!(quorum.check_witnesses(&cosigned(&[11])).unwrap_err(), Distrust::Quorum { cosigned: 1 });

    let alone = Policy::without_witnesses(vec![log_key("example.com/log", 1).verifier().clone()]);
    assert!(alone.check(&cosigned(&[])).is_ok());
}

#[test]
fn a_false_cosignature_is_not_ignored() {
    let mut signed = cosigned(&[11, 12]);
    signed.add(witness_key(21).cosign(&checkpoint(4), 1)).unwrap();
    let key = witness_key(21);
    let (name, key_id) = (key.verifier().name().clone(), key.verifier().id());
    let expected = Distrust::Witness(VerifyError::Invalid { name, key_id });
    assert_eq!(two_levels().check(&signed).unwrap_err(), expected);
}

#[test]
fn spaces_comments_names_and_urls_are_read() {
    let text = format!(
        "\t# comment \u{e9}\n  log\t{} https://example.com/log  \nwitness \u{212a} {} https://w.example\n\
         #\nquorum \u{212a}",
        log_vkey(1),
        witness_vkey(11)
    );
    let policy = policy(&text);
    assert_eq!(policy.logs().len(), 1);
    assert_eq!(policy.witnesses()[0].name, "\u{212a}".as_bytes());
    assert_eq!(policy.witnesses()[0].url.as_deref(), Some(b"https://w.example".as_slice()));
    assert!(policy.check(&cosigned(&[11])).is_ok());
    assert!(Policy::parse(b"# \xff\nquorum none\n").is_ok());
}

#[test]
fn malformed_policies_are_refused_with_their_line() {
    let (log, a, b) = (log_vkey(1), witness_vkey(11), witness_vkey(12));
    let known = format!("witness A {a}\nwitness B {b}\n");
    let unknown = |name: &str| PolicyProblem::UnknownName(name.to_owned());
    for (text, line, problem) in [
        (String::new(), 2, PolicyProblem::Quorum),
        ("quorum none\nquorum none\n".to_owned(), 2, PolicyProblem::Quorum),
        ("quorum none\r\n".to_owned(), 1, PolicyProblem::ControlCharacter),
        ("quorums none\n".to_owned(), 1, PolicyProblem::Keyword),
        ("quorum\n".to_owned(), 1, PolicyProblem::Items("quorum <name>")),
        (format!("log {log} url more\n"), 1, PolicyProblem::Items("log <vkey> [<url>]")),
        ("witness A\n".to_owned(), 1, PolicyProblem::Items("witness <name> <vkey> [<url>]")),
        ("group A\n".to_owned(), 1, PolicyProblem::Items("group <name> all|any|<number> <name>...")),
        ("log vkey\n".to_owned(), 1, PolicyProblem::Key(KeyError::Parts)),
        (format!("log {a}\n"), 1, PolicyProblem::KeyType),
        (format!("witness A {log}\n"), 1, PolicyProblem::KeyType),
        (format!("log {log}\n\nlog {log}\n"), 3, PolicyProblem::DuplicateKey),
        (format!("witness A {a}\nwitness B {a}\n"), 2, PolicyProblem::DuplicateKey),
        (format!("witness A {a}\nwitness A {b}\n"), 2, PolicyProblem::DuplicateName),
        (format!("witness none {a}\n"), 1, PolicyProblem::DuplicateName),
        (format!("{known}group A all B\n"), 3, PolicyProblem::DuplicateName),
        (format!("{known}group C all C\n"), 3, unknown("C")),
        (format!("{known}group C all none\n"), 3, unknown("none")),
        ("quorum A\n".to_owned(), 1, unknown("A")),
        (format!("{known}group C all A A\n"), 3, PolicyProblem::SecondGroup("A".to_owned())),
        (format!("{known}group C any A\ngroup D any A B\n"), 4, PolicyProblem::SecondGroup("A".to_owned())),
        (format!("{known}group C 0 A\n"), 3, PolicyProblem::Threshold),
        (format!("{known}group C 2 A\n"), 3, PolicyProblem::Threshold),
        (format!("{known}group C 01 A\n"), 3, PolicyProblem::Threshold),
        (format!("{known}group C all\n"), 3, PolicyProblem::Threshold),
        (format!("{known}group C any\n"), 3, PolicyProblem::Threshold),
        ("#".repeat(POLICY_BYTES_MAX + 1), 1, PolicyProblem::Length),
    ] {
        assert_eq!(Policy::parse(text.as_bytes()), Err(PolicyError { line, problem }), "{text:.300}");
    }
}

#[test]
fn policies_of_the_recommended_size_are_supported() {
    let mut text = String::new();
    for seed in 1..=32 {
        text += &format!("log {}\nwitness W{seed} {}\n", log_vkey(seed), witness_vkey(seed));
    }
    text += "group G1 any W1\n";
    for group in 2..=32 {
        text += &format!("group G{group} all W{group} G{}\n", group - 1);
    }
    let policy = policy(&(text + "quorum G32\n"));
    let all: Vec<u8> = (1..=32).collect();
    assert_eq!(policy.check(&cosigned(&all)).unwrap().witnesses.len(), 32);
    assert_eq!(policy.check(&cosigned(&all[1..])).unwrap_err(), Distrust::Quorum { cosigned: 31 });
}

proptest! {
    #[test]
    fn bytes_never_panic(
        bytes: Vec<u8>,
        lines in prop::collection::vec("(log|witness|group|quorum|#)( [A-C0-2]| all| any| none){0,5}", 0..9),
    ) {
        let _ = Policy::parse(&bytes);
        let _ = Policy::parse(lines.join("\n").as_bytes());
    }
}
