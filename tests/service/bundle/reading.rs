//! Files that are no bundles: a clear error, and exit code 2.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Installation, members, verify, verify_with_key, vkey, write};

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a stream")
}

#[tokio::test]
async fn a_file_that_is_no_complete_bundle_cannot_be_checked() {
    let installation = Installation::with_events(1).await;
    let bundle = installation.exported("event.tar.gz", &["--event", &installation.events[0]]).await;
    let genuine = members(&bundle);
    let path = installation.path("other.tar.gz");
    let refused = async |words: &[&str]| {
        verify_with_key(&path, 1).await.failed_with(2, &[&["not checked: "], words].concat());
    };

    let bytes = fs::read(&bundle).expect("a file");
    for end in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..end]).expect("a file");
        refused(&["not a complete tar.gz"]).await;
    }
    fs::write(&path, [bytes.as_slice(), b"more"].concat()).expect("a file");
    refused(&["something follows the archive"]).await;
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::write(&path, damaged).expect("a file");
    refused(&[]).await;
    fs::write(&path, "no archive").expect("a file");
    refused(&["not a complete tar.gz"]).await;

    // The message quotes the name, on one line and without control sequences.
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..7].copy_from_slice(b"a\n\x1b[2Jb");
    header.as_ustar_mut().expect("a header").size.fill(b'z');
    header.set_cksum();
    fs::write(&path, gzipped(&[header.as_bytes().as_slice(), &[0; 1024]].concat())).expect("a file");
    let quoted = r"a\n\u{1b}[2Jb";
    refused(&["not a complete tar.gz", quoted]).await;

    let with = |name: &str, content: &[u8]| {
        let member = (name.to_owned(), content.to_vec());
        write(&path, &[genuine.as_slice(), &[member]].concat());
    };
    for name in ["../manifest.json", "/etc/passwd", "log/../../x", "notes.txt", "payloads/x.delivered"] {
        with(name, b"");
        refused(&["which no bundle has", name]).await;
    }
    for name in ["manifest.json", "facts.ndjson", "README.txt"] {
        with(name, b"");
        refused(&["twice", name]).await;
    }
    with("policy.txt", &vec![b' '; (1 << 20) + 1]);
    refused(&["policy.txt", "more than 1048576"]).await;
    for name in ["manifest.json", "facts.ndjson"] {
        let rest: Vec<_> = genuine.iter().filter(|(path, _)| path != name).cloned().collect();
        write(&path, &rest);
        refused(&["has no", name]).await;
    }
    let mut other = genuine.clone();
    let manifest = other.iter_mut().find(|(path, _)| path == "manifest.json").expect("a manifest");
    manifest.1 =
        String::from_utf8(manifest.1.clone()).unwrap().replace("bundle/v1", "bundle/v9").into_bytes();
    write(&path, &other);
    refused(&["manifest.json", "bundle/v9"]).await;

    let nowhere = installation.path("nowhere");
    verify_with_key(&nowhere, 1).await.failed_with(2, &["cannot be read"]);
    assert_eq!(verify(&bundle, &[]).await.code, Some(2), "without a key");
    assert_eq!(verify(&bundle, &["--key", "no key"]).await.code, Some(2));
    let other = vkey(1).replace(super::NAME, "other.example.com");
    assert_eq!(verify(&bundle, &["--key", &other]).await.code, Some(2), "a key with the id of another");
    let policy = verify(&bundle, &["--key", &vkey(1), "--policy", "/nowhere"]).await;
    policy.failed_with(2, &["/nowhere"]);
    installation.stop().await;
}
