//! Requests for time stamps and their answers, judged by `openssl ts`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use evidence::timestamp::{TimestampError, TimestampRequest, check_imprint};
use proptest::prelude::*;
use tempfile::TempDir;

const NOTE: &[u8] = "example.com/log\n3\nroot\n\n— example.com/log signature\n".as_bytes();
const NONCE: u64 = 0x8000_0000_0000_0001;

/// A time stamping authority that consists of `openssl`.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(TempDir::new().expect("a temporary folder"));
        let settings = "[tsa]\ndefault_tsa = authority\n[authority]\nserial = serial\nsigner_cert = tsa.pem\n\
                        signer_key = tsa.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n\
                        digests = sha256, sha512\naccuracy = secs:1, millisecs:5\nordering = yes\ntsa_name = yes\n";
        fs::write(authority.path("settings"), settings).expect("a file");
        let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        authority.openssl(&format!("{key} -keyout ca.key -out ca.pem -subj /CN=ca"));
        authority.openssl(&format!(
            "{key} -keyout tsa.key -out tsa.pem -subj /CN=tsa -CA ca.pem -CAkey ca.key \
             -addext extendedKeyUsage=critical,timeStamping -addext basicConstraints=CA:FALSE"
        ));
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(self.0.path());
        command.output().unwrap_or_else(|error| panic!("openssl, which `make setup` installs: {error}"))
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// Answers a request.
    fn reply(&self, request: &[u8]) -> Vec<u8> {
        fs::write(self.path("query"), request).expect("a file");
        self.openssl("ts -reply -config settings -queryfile query -out answer");
        fs::read(self.path("answer")).expect("an answer")
    }
}

fn request() -> TimestampRequest {
    TimestampRequest::new(NOTE, NONCE)
}

#[test]
fn openssl_answers_a_request_and_verifies_the_answer() {
    let authority = Authority::new();
    let answer = authority.reply(&request().to_der().unwrap());
    assert_eq!(request().accept(&answer), Ok(()));
    assert_eq!(check_imprint(&answer, NOTE), Ok(()));
    assert_eq!(check_imprint(&answer, b"other"), Err(TimestampError::OtherImprint));
    fs::write(authority.path("note"), NOTE).expect("a file");
    authority.openssl("ts -verify -queryfile query -in answer -CAfile ca.pem");
    authority.openssl("ts -verify -data note -in answer -CAfile ca.pem");
    // The certificate is in the answer, because the request asks for it.
    let said = String::from_utf8(authority.openssl("ts -query -in query -text").stdout).expect("text");
    for line in
        ["Version: 1", "Hash Algorithm: sha256", "Nonce: 0x8000000000000001", "Certificate required: yes"]
    {
        assert!(said.contains(line), "{said}");
    }
    fs::write(authority.path("note"), [NOTE, b"\n"].concat()).expect("a file");
    assert!(!authority.run("ts -verify -data note -in answer -CAfile ca.pem").status.success());
}

#[test]
fn answers_to_other_requests_are_refused() {
    let authority = Authority::new();
    let reply = |request: &TimestampRequest| authority.reply(&request.to_der().unwrap());
    let of_other_bytes = reply(&TimestampRequest::new(b"other", NONCE));
    assert_eq!(request().accept(&of_other_bytes), Err(TimestampError::OtherImprint));
    let of_other_nonce = reply(&TimestampRequest::new(NOTE, NONCE + 1));
    assert_eq!(request().accept(&of_other_nonce), Err(TimestampError::OtherNonce));

    // Without nonce, and with another hash function.
    fs::write(authority.path("note"), NOTE).expect("a file");
    let query = |options: &str| {
        authority.openssl(&format!("ts -query -data note {options} -out other"));
        authority.reply(&fs::read(authority.path("other")).expect("a request"))
    };
    assert_eq!(request().accept(&query("-sha256 -no_nonce")), Err(TimestampError::OtherNonce));
    assert_eq!(request().accept(&query("-sha512")), Err(TimestampError::OtherImprint));
}

#[test]
fn refusals_and_nonsense_are_no_time_stamps() {
    let authority = Authority::new();
    fs::write(authority.path("query"), "no request").expect("a file");
    // It answers that the request is malformed.
    authority.run("ts -reply -config settings -queryfile query -out answer");
    let refusal = fs::read(authority.path("answer")).expect("an answer");
    assert_eq!(request().accept(&refusal), Err(TimestampError::Refused(2)));

    let answer = authority.reply(&request().to_der().unwrap());
    for bytes in [b"".as_slice(), b"<html>", &answer[..answer.len() - 1], &[answer.as_slice(), &[0]].concat()]
    {
        assert!(matches!(request().accept(bytes), Err(TimestampError::Form(_))), "{}", bytes.len());
    }
    let granted_without_token = [0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00];
    assert_eq!(request().accept(&granted_without_token), Err(TimestampError::NoToken));
}

proptest! {
    #[test]
    fn every_nonce_has_a_request(nonce: u64) {
        let request = TimestampRequest::new(NOTE, nonce).to_der().unwrap();
        prop_assert_eq!(usize::from(request[1]) + 2, request.len());
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = request().accept(&bytes);
        let _ = request().accept(&[&[0x30, bytes.len() as u8], bytes.as_slice()].concat());
    }
}
