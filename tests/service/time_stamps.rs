//! Time stamps of an authority, which is `openssl` behind an HTTP server, and of one that does not do what it should.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evidence::note::SignerKey;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::AbortHandle;

use crate::bundle;
use crate::harness::api::send;
use crate::harness::client;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process, run};
use crate::harness::tenant::Tenant;
use crate::harness::until;

const SETTINGS: &str = "[tsa]\ndefault_tsa = authority\n[authority]\nserial = serial\nsigner_cert = tsa.pem\n\
                        signer_key = tsa.key\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256\n";
const KEY: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
/// Bytes of a request after its last byte of the hash and before that of the nonce.
const CERT_REQ: usize = 3;

const MASTER_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn signer() -> SignerKey {
    SignerKey::from_seed("hooks.example.com".parse().unwrap(), &[1; 32])
}

fn vkey() -> String {
    signer().verifier().to_string()
}

/// What the authority does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Grant,
    Refuse,
    /// Its answer is a time stamp of other bytes.
    OtherBytes,
    /// Its answer is a time stamp of the same bytes for another request.
    OtherNonce,
    Nonsense,
    Huge,
    Fail,
    Hang,
}

#[derive(Clone)]
struct Shared {
    folder: Arc<TempDir>,
    mode: Arc<Mutex<Mode>>,
}

/// An authority. It is closed when it is dropped.
struct Authority {
    shared: Shared,
    url: String,
    server: AbortHandle,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn openssl(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).kill_on_drop(true);
    command.output().await.expect("openssl, which `make setup` installs")
}

impl Authority {
    async fn start(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("settings"), SETTINGS).expect("a file");
        let root = format!("{KEY} -keyout ca.key -out ca.pem -subj /CN=ca");
        let signer = format!(
            "{KEY} -keyout tsa.key -out tsa.pem -subj /CN=tsa -CA ca.pem -CAkey ca.key \
             -addext extendedKeyUsage=critical,timeStamping -addext basicConstraints=CA:FALSE"
        );
        for arguments in [root, signer] {
            let output = openssl(folder.path(), &arguments).await;
            assert!(output.status.success(), "{output:?}");
        }
        let shared = Shared { folder: Arc::new(folder), mode: Arc::new(Mutex::new(mode)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/tsa", listener.local_addr().expect("a bound socket"));
        let app = Router::new().route("/tsa", axum::routing::post(answer)).with_state(shared.clone());
        let mut tasks = tokio::task::JoinSet::new();
        let server = tasks.spawn(async move { axum::serve(listener, app).await });
        tasks.detach_all();
        Self { shared, url, server }
    }

    fn turn(&self, mode: Mode) {
        *self.shared.mode.lock().expect("no panic while held") = mode;
    }

    /// Whether openssl verifies a time stamp of a note.
    async fn verifies(&self, note: &str, answer: &[u8]) -> bool {
        let folder = self.shared.folder.path();
        fs::write(folder.join("note"), note).expect("a file");
        fs::write(folder.join("stored"), answer).expect("a file");
        openssl(folder, "ts -verify -data note -in stored -CAfile ca.pem").await.status.success()
    }
}

async fn answer(State(shared): State<Shared>, body: Bytes) -> Response {
    let mut request = body.to_vec();
    let end = request.len() - CERT_REQ;
    let mode = *shared.mode.lock().expect("no panic while held");
    match mode {
        Mode::Grant => {}
        Mode::Refuse => request.truncate(end),
        // The hash is before the tag and the length of the nonce.
        Mode::OtherBytes => request[40] ^= 1,
        Mode::OtherNonce => request[end - 1] ^= 1,
        Mode::Nonsense => return "a time stamp".into_response(),
        Mode::Huge => return vec![0x30; 1 << 22].into_response(),
        Mode::Fail => return StatusCode::BAD_GATEWAY.into_response(),
        Mode::Hang => std::future::pending().await,
    }
    let folder = shared.folder.path();
    fs::write(folder.join("query"), request).expect("a file");
    openssl(folder, "ts -reply -config settings -queryfile query -out answer").await;
    fs::read(folder.join("answer")).expect("an answer").into_response()
}

/// Runs the commands of docs/evidence.md on an unpacked bundle.
async fn run_document(folder: &Path, id: &str) -> Output {
    let document = include_str!("../../docs/evidence.md");
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script = blocks.into_iter().find(|block| block.contains("openssl ts -verify")).expect("a block");
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder).kill_on_drop(true);
    command.env("id", id).output().await.expect("bash")
}

/// An installation whose checkpoints are stamped.
struct Installation {
    database: TestDatabase,
    process: Process,
    tenant: Tenant,
}

/// A checkpoint with its time stamp.
type Stamped = (i64, String, Vec<u8>);

impl Installation {
    async fn start(authority: &Authority, interval: &str) -> Self {
        let database = TestDatabase::create().await;
        let process = Launch::serve("api,projector,sealer", &database.url())
            .with("HOOKSENTRY_EVIDENCE_KEY", &signer().to_secret_text())
            .with("HOOKSENTRY_SEAL_INTERVAL", "200ms")
            .with("HOOKSENTRY_TSA_URL", &authority.url)
            .with("HOOKSENTRY_TSA_INTERVAL", interval)
            .with("HOOKSENTRY_EVIDENCE_TIMEOUT", "2s")
            .ready()
            .await;
        let tenant = Tenant::register(process.base()).await;
        Self { database, process, tenant }
    }

    async fn stamped(&self) -> Vec<Stamped> {
        sqlx::query_as(
            "SELECT size, note, answer
             FROM checkpoint_timestamps JOIN evidence_checkpoints USING (log_id, size)
             ORDER BY size",
        )
        .fetch_all(&self.database.pool().await)
        .await
        .expect("time stamps")
    }

    /// Waits until there are this many time stamps.
    async fn until_stamped(&self, count: usize) -> Vec<Stamped> {
        until("a time stamp", async || {
            let stamped = self.stamped().await;
            (stamped.len() >= count).then_some(stamped)
        })
        .await
    }

    /// Appends facts until the log of the installation is signed again.
    async fn grow(&self) {
        let signed = async || {
            sqlx::query_scalar::<_, i64>(
                "SELECT coalesce(max(sealed_size), 0) FROM evidence_trees WHERE tenant_id IS NULL",
            )
            .fetch_one(&self.database.pool().await)
            .await
            .expect("a number")
        };
        let before = signed().await;
        self.tenant.destination("https://receiver.example.com/hooks", 5).await;
        until("the next checkpoint", async || (signed().await > before).then_some(())).await;
    }

    async fn results(&self, result: &str) -> u64 {
        let url = format!("{}/metrics", self.process.base());
        let metrics = client().get(url).send().await.expect("an answer").text().await.expect("text");
        let name = format!("hooksentry_time_stamps_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    async fn stop(self) {
        assert!(self.process.stop().await.success());
        self.database.discard().await;
    }
}

#[tokio::test]
async fn openssl_verifies_what_is_stored_and_nothing_is_stored_that_it_would_not() {
    let authority = Authority::start(Mode::Grant).await;
    let installation = Installation::start(&authority, "1s").await;
    let mut count = 1;
    for (mode, result) in [
        (Mode::Refuse, "refused"),
        (Mode::OtherBytes, "invalid"),
        (Mode::OtherNonce, "invalid"),
        (Mode::Nonsense, "invalid"),
        (Mode::Huge, "invalid"),
        (Mode::Fail, "refused"),
        (Mode::Hang, "unreachable"),
    ] {
        // A time stamp in between ends the pauses that grow.
        installation.until_stamped(count).await;
        authority.turn(mode);
        let failures = installation.results(result).await;
        installation.grow().await;
        until(&format!("{mode:?} to be {result}"), async || {
            (installation.results(result).await > failures).then_some(())
        })
        .await;
        authority.turn(Mode::Grant);
        count = installation.stamped().await.len() + 1;
        installation.grow().await;
    }
    let stamped = installation.until_stamped(count).await;
    for (size, note, answer) in &stamped {
        assert!(authority.verifies(note, answer).await, "{size}");
    }
    let (_, note, _) = &stamped[0];
    let (_, _, answer) = &stamped[1];
    assert!(!authority.verifies(note, answer).await, "the time stamp of another checkpoint");
    until("the health check to have the time", async || {
        let ready =
            send(installation.tenant.owner().api.request("GET", "/health/ready")).await.expect(200).body;
        ready["evidence"]["lastTimeStampAt"].is_string().then_some(())
    })
    .await;
    installation.stop().await;
}

#[tokio::test]
async fn an_authority_is_asked_once_in_an_interval_and_delays_nothing() {
    let authority = Authority::start(Mode::Grant).await;
    let installation = Installation::start(&authority, "1h").await;
    installation.until_stamped(1).await;
    for _ in 0..3 {
        installation.grow().await;
    }
    assert_eq!(installation.stamped().await.len(), 1);
    assert_eq!(installation.results("granted").await, 1);
    installation.stop().await;

    let silent = Authority::start(Mode::Hang).await;
    let installation = Installation::start(&silent, "1s").await;
    for _ in 0..3 {
        installation.grow().await;
    }
    assert_eq!(installation.stamped().await.len(), 0);
    installation.stop().await;
}

#[tokio::test]
async fn a_bundle_has_the_first_time_stamp_after_its_facts() {
    let authority = Authority::start(Mode::Grant).await;
    let installation = Installation::start(&authority, "1s").await;
    let destination = installation.tenant.destination("https://receiver.example.com/hooks", 5).await;
    let event = installation.tenant.ingest(&destination, &json!({ "number": 1 })).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("event.tar.gz");
    let tenant = installation.tenant.tenant_id();
    let output = file.to_str().expect("a path");
    let export = ["audit", "export", "--tenant", tenant, "--event", &event, "--output", output];
    let export = [export.as_slice(), &["--encryption-key", MASTER_KEY]].concat();
    let said = until("a bundle with a time stamp", async || {
        // It is refused as long as no checkpoint covers the event.
        let _ = fs::remove_file(&file);
        let exported = run(&export, &installation.database.url()).await;
        (exported.code == Some(0)).then_some(())?;
        let said = bundle::verify(&file, &["--key", &vkey()]).await.succeeded().output;
        said.contains("with a time stamp").then_some(said)
    })
    .await;
    assert!(said.ends_with("VERIFIED\n"), "{said}");
    bundle::verify_with_python(&file, 1).await.succeeded();

    let members = bundle::members(&file);
    let unpacked = folder.path().join("unpacked");
    fs::create_dir_all(unpacked.join("timestamps")).expect("a folder");
    let mut id = String::new();
    for (path, content) in members.iter().filter(|(path, _)| path.starts_with("timestamps/")) {
        fs::write(unpacked.join(path), content).expect("a file");
        id = path.trim_start_matches("timestamps/").split('.').next().expect("an id").to_owned();
    }
    fs::copy(authority.shared.folder.path().join("ca.pem"), unpacked.join("authority.pem")).expect("a file");
    let said = run_document(&unpacked, &id).await;
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("Hash Algorithm: sha256"), "{said:?}");

    // A time stamp of something else, or of nothing that is here.
    let altered = folder.path().join("altered.tar.gz");
    for (suffix, problem) in [(".checkpoint", "not the checkpoint"), (".tsr", "not of the form")] {
        let change = |(path, content): &(String, Vec<u8>)| {
            let content = if path.starts_with("timestamps/") && path.ends_with(suffix) {
                vec![b'x']
            } else {
                content.clone()
            };
            (path.clone(), content)
        };
        bundle::write(&altered, &members.iter().map(change).collect::<Vec<_>>());
        bundle::verify(&altered, &["--key", &vkey()]).await.failed_with(1, &["timestamps/", problem]);
        let without: Vec<_> = members
            .iter()
            .filter(|(path, _)| !(path.starts_with("timestamps/") && path.ends_with(suffix)))
            .cloned()
            .collect();
        bundle::write(&altered, &without);
        bundle::verify(&altered, &["--key", &vkey()]).await.failed_with(1, &["timestamps/", "missing"]);
    }
    installation.stop().await;
}
