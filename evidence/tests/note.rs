//! Notes and keys, against the examples of Go's `sumdb/note` and of C2SP signed-note.

use evidence::note::{
    CosignerKey, KeyError, KeyName, KeyNameError, KeyType, NOTE_BYTES_MAX, Note, NoteError, SIGNATURES_MAX,
    SignatureError, SignerKey, VerifierKey, VerifyError, parse_signatures,
};
use proptest::prelude::*;

const PUBLIC_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PRIVATE_KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";
const SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn note() -> String {
    format!("{TEXT}\n{SIGNATURE}")
}

fn verifier(vkey: &str) -> VerifierKey {
    vkey.parse().unwrap()
}

fn signer(name: &str, seed: u8) -> SignerKey {
    SignerKey::from_seed(name.parse().unwrap(), &[seed; 32])
}

#[test]
fn the_note_of_go_is_written_and_verified() {
    let key = SignerKey::parse(PRIVATE_KEY).unwrap();
    assert_eq!(Note::sign(TEXT.to_owned(), &key).unwrap().to_string(), note());

    let parsed = Note::parse(note().as_bytes()).unwrap();
    assert_eq!(parsed.text(), TEXT);
    let keys = [verifier(PUBLIC_KEY)];
    let verified = parsed.verify(&keys).unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!((verified[0].key, verified[0].timestamp), (&keys[0], None));
}

#[test]
fn the_note_of_the_standard_is_verified() {
    let key = verifier("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
    let note = "This is an example message.\n\n\
        — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    assert_eq!(Note::parse(note.as_bytes()).unwrap().verify(&[key]).unwrap().len(), 1);
}

#[test]
fn a_key_under_the_name_of_another_log_is_another_key() {
    let (key, name) = (signer("example.com", 1), "example.com/other".parse::<KeyName>().unwrap());
    let other = key.with_name(name.clone());
    assert_eq!(other.verifier(), &key.verifier().with_name(name));
    assert_eq!(other.to_secret_text(), signer("example.com/other", 1).to_secret_text());
    let note = Note::sign(TEXT.to_owned(), &other).unwrap();
    assert_eq!(note.verify(&[other.verifier().clone()]).unwrap().len(), 1);
    assert_eq!(note.verify(&[key.verifier().clone()]).unwrap_err(), VerifyError::NoKnownKey);
}

#[test]
fn keys_have_the_form_of_go() {
    let private = SignerKey::parse(PRIVATE_KEY).unwrap();
    assert_eq!(private.verifier().to_string(), PUBLIC_KEY);
    assert_eq!(private.to_secret_text(), PRIVATE_KEY);
    assert_eq!(private.verifier().id(), 0xc74f_20a3);
    assert_eq!(format!("{private:?}"), format!("SignerKey({PUBLIC_KEY}, ..)"));

    let witness = CosignerKey::from_seed("example.com/witness".parse().unwrap(), &[1; 32]);
    let public = verifier(&witness.verifier().to_string());
    assert_eq!((&public, public.key_type()), (witness.verifier(), KeyType::Cosignature));
    let again = CosignerKey::parse(&witness.to_secret_text()).unwrap();
    assert_eq!(again.verifier(), &public);
}

#[test]
fn malformed_keys_are_refused() {
    for (vkey, expected) in [
        ("PeterNeumann", KeyError::Parts),
        ("PeterNeumann+c74f20a3", KeyError::Parts),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name(KeyNameError::Length(0))),
        (
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            KeyError::Name(KeyNameError::Character(5)),
        ),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann++74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann+c74f20a+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        (
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            KeyError::OtherId { expected: 0xc74f_20a3, found: 0xc74f_20a4 },
        ),
        ("PeterNeumann+c74f20a3+", KeyError::Bytes),
        ("PeterNeumann+c74f20a3+ARpc2QcU", KeyError::Bytes),
        ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW=", KeyError::Bytes),
        ("PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Type(2)),
        // The point of order 1, with which a signature of anything verifies.
        ("PeterNeumann+c74f20a3+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", KeyError::Point),
    ] {
        assert_eq!(vkey.parse::<VerifierKey>(), Err(expected), "{vkey}");
    }
    assert_eq!(SignerKey::parse(PUBLIC_KEY).unwrap_err(), KeyError::Parts);
    let other = PRIVATE_KEY.replace("PeterNeumann", "EnochRoot");
    assert!(matches!(SignerKey::parse(&other), Err(KeyError::OtherId { found: 0xc74f_20a3, .. })));
    let witness = CosignerKey::from_seed("w".parse().unwrap(), &[1; 32]);
    assert_eq!(SignerKey::parse(&witness.to_secret_text()).unwrap_err(), KeyError::Type(4));
    assert_eq!("a".repeat(256).parse::<KeyName>(), Err(KeyNameError::Length(256)));
}

#[test]
fn malformed_notes_are_refused_with_their_place() {
    let bad_line = |problem| NoteError::Signature { line: 4, problem };
    for (bytes, expected) in [
        (String::new(), NoteError::NoSignatures),
        (TEXT.to_owned(), NoteError::NoSignatures),
        (format!("{TEXT}\n"), NoteError::NoSignatures),
        (note().trim_end().to_owned(), NoteError::UnfinishedLine),
        (note().replacen('\n', "\r\n", 1), NoteError::ControlCharacter(56)),
        (note().replace("— ", "- "), bad_line(SignatureError::Dash)),
        (note().replace("— PeterNeumann ", "— PeterNeumann"), bad_line(SignatureError::Parts)),
        (note().replace("— PeterNeumann", "— "), bad_line(SignatureError::Name(KeyNameError::Length(0)))),
        (note().replace("— Peter", "— Peter+"), bad_line(SignatureError::Name(KeyNameError::Character(5)))),
        (note().replace("nAM=", "nAM"), bad_line(SignatureError::Bytes)),
        (note().replace("nAM=", "nAN="), bad_line(SignatureError::Bytes)),
        (format!("{TEXT}\n— PeterNeumann x08gow==\n"), bad_line(SignatureError::Bytes)),
        (format!("{TEXT}\n{}", SIGNATURE.repeat(SIGNATURES_MAX + 1)), NoteError::SignatureCount),
        (note().repeat(2_000), NoteError::Length(2_000 * note().len())),
    ] {
        assert_eq!(Note::parse(bytes.as_bytes()), Err(expected), "{bytes:.300}");
    }
    assert_eq!(Note::parse(b"a\xff\n\n"), Err(NoteError::Utf8(1)));
    assert!(Note::parse(format!("{TEXT}\n{}", SIGNATURE.repeat(SIGNATURES_MAX)).as_bytes()).is_ok());
}

#[test]
fn a_text_that_is_no_note_is_not_signed() {
    let key = signer("log", 1);
    assert_eq!(Note::sign("no line feed".to_owned(), &key), Err(NoteError::UnfinishedText));
    assert_eq!(Note::sign("tab\t\n".to_owned(), &key), Err(NoteError::ControlCharacter(3)));
    let long = "a".repeat(NOTE_BYTES_MAX) + "\n";
    assert_eq!(Note::sign(long, &key), Err(NoteError::Length(NOTE_BYTES_MAX + 1)));
}

#[test]
fn an_altered_text_does_not_verify() {
    let altered = Note::parse(note().replace("problem is", "problem  is").as_bytes()).unwrap();
    let invalid = VerifyError::Invalid { name: "PeterNeumann".parse().unwrap(), key_id: 0xc74f_20a3 };
    assert_eq!(altered.verify(&[verifier(PUBLIC_KEY)]).unwrap_err(), invalid);
}

#[test]
fn only_known_keys_count_and_each_once() {
    let (old, new, unknown) = (signer("log", 1), signer("log", 2), signer("other", 3));
    let mut rotated = Note::sign(TEXT.to_owned(), &unknown).unwrap();
    for key in [&old, &new, &old] {
        rotated.add_signature(key).unwrap();
    }
    assert_eq!(rotated.signatures().len(), 3);

    let keys = [old.verifier().clone(), new.verifier().clone()];
    assert_eq!(rotated.verify(&keys).unwrap().len(), 2);
    assert_eq!(rotated.verify(&keys[..1]).unwrap().len(), 1);
    assert_eq!(rotated.verify([]).unwrap_err(), VerifyError::NoKnownKey);

    let twice = format!("{TEXT}\n{SIGNATURE}{SIGNATURE}");
    assert_eq!(Note::parse(twice.as_bytes()).unwrap().verify(&[verifier(PUBLIC_KEY)]).unwrap().len(), 1);
}

#[test]
fn a_text_may_have_empty_lines() {
    let key = signer("log", 1);
    for text in ["\n", "a\n\n", "a\n\n— log AAAAAAA=\n"] {
        let note = Note::sign(text.to_owned(), &key).unwrap();
        let parsed = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, note);
        assert!(parsed.verify([key.verifier()]).is_ok());
    }
}

#[test]
fn signature_lines_are_parsed_alone() {
    let lines = format!("{SIGNATURE}{SIGNATURE}");
    assert_eq!(parse_signatures(&lines).unwrap().len(), 2);
    assert_eq!(parse_signatures(""), Err(NoteError::NoSignatures));
    assert_eq!(parse_signatures(lines.trim_end()), Err(NoteError::UnfinishedLine));
    let empty = NoteError::Signature { line: 2, problem: SignatureError::Dash };
    assert_eq!(parse_signatures(&format!("{SIGNATURE}\n")), Err(empty));
}

proptest! {
    #[test]
    fn notes_round_trip(lines in prop::collection::vec("[^\\x00-\\x1f]{0,40}", 1..6), seeds in prop::collection::btree_set(0_u8.., 1..4)) {
        let text = lines.join("\n") + "\n";
        let keys: Vec<SignerKey> = seeds.into_iter().map(|seed| signer("log", seed)).collect();
        let mut note = Note::sign(text, &keys[0]).unwrap();
        keys[1..].iter().for_each(|key| note.add_signature(key).unwrap());
        let parsed = Note::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&parsed, &note);
        let verifiers: Vec<VerifierKey> = keys.iter().map(|key| key.verifier().clone()).collect();
        prop_assert_eq!(parsed.verify(&verifiers).unwrap().len(), keys.len());
    }

    #[test]
    fn keys_round_trip(name in "[^+\\s\\pC]{1,60}", seed: [u8; 32]) {
        let key = SignerKey::from_seed(name.parse().unwrap(), &seed);
        let parsed = SignerKey::parse(&key.to_secret_text()).unwrap();
        prop_assert_eq!(parsed.verifier(), key.verifier());
        prop_assert_eq!(&key.verifier().to_string().parse::<VerifierKey>().unwrap(), key.verifier());
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, text: String, line in "(— )?[a-z+ ]{0,9}[A-Za-z0-9+/= ]{0,40}\n{0,2}") {
        let _ = Note::parse(&bytes);
        let _ = text.parse::<VerifierKey>();
        let _ = SignerKey::parse(&format!("PRIVATE+KEY+{text}"));
        if let Ok(note) = Note::parse(format!("{text}\n\n{line}").as_bytes()) {
            prop_assert_eq!(note.to_string(), format!("{text}\n\n{line}"));
        }
    }
}
