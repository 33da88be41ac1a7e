//! Bundles: facts with their proofs in a file, verified by the program alone and by Python and openssl alone.

mod altering;
mod documented;
mod exporting;
mod reading;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use evidence::note::SignerKey;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::api::send;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{CommandOutput, Launch, Process, finished, run};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::until;

const NAME: &str = "hooks.example.com";
const MASTER_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn signer(seed: u8) -> SignerKey {
    SignerKey::from_seed(NAME.parse().unwrap(), &[seed; 32])
}

fn vkey(seed: u8) -> String {
    signer(seed).verifier().to_string()
}

/// An installation that delivers and seals, with one tenant.
struct Installation {
    database: TestDatabase,
    process: Process,
    receiver: Receiver,
    tenant: Tenant,
    destination: String,
    /// An event whose payload was transformed by a mapping, then the others.
    events: Vec<String>,
    folder: TempDir,
}

impl Installation {
    /// Delivers this many webhooks, and waits until the facts of all are signed.
    async fn with_events(count: usize) -> Self {
        let database = TestDatabase::create().await;
        let process = Launch::serve("api,projector,dispatcher,worker,sealer", &database.url())
            .with("HOOKSENTRY_EVIDENCE_KEY", &signer(1).to_secret_text())
            .with("HOOKSENTRY_SEAL_INTERVAL", "200ms")
            .ready()
            .await;
        let receiver = Receiver::answering(200).await;
        let tenant = Tenant::register(process.base()).await;
        let destination = tenant.destination(&receiver.url(), 50).await;
        let mut events = vec![transformed(&tenant, &destination.id.to_string()).await];
        for number in 1..count {
            events.push(tenant.ingest(&destination, &json!({ "number": number })).await);
        }
        tenant.until_count("Succeeded", count).await;
        let folder = tempfile::tempdir().expect("a folder");
        let destination = destination.id.to_string();
        let installation = Self { database, process, receiver, tenant, destination, events, folder };
        installation.until_sealed().await;
        installation
    }

    /// Waits until a signed checkpoint covers all facts of the tenant.
    async fn until_sealed(&self) {
        let pool = self.database.pool().await;
        until("a checkpoint of all facts", async || {
            let unsealed: i64 = sqlx::query_scalar(
                "SELECT (SELECT count(*) FROM events WHERE tenant_id::text = $1)
                      - (SELECT sum(sealed_size) FROM evidence_trees WHERE tenant_id::text = $1)::bigint",
            )
            .bind(self.tenant.tenant_id())
            .fetch_one(&pool)
            .await
            .ok()?;
            (unsealed == 0).then_some(())
        })
        .await;
    }

    /// Exports a bundle; `selection` are arguments of the command.
    async fn export(&self, name: &str, selection: &[&str]) -> CommandOutput {
        let output = self.path(name);
        let output = output.to_str().expect("a path");
        let tenant = self.tenant.tenant_id();
        let mut arguments = vec!["audit", "export", "--tenant", tenant, "--output", output];
        arguments.extend(["--encryption-key", MASTER_KEY]);
        arguments.extend(selection);
        run(&arguments, &self.database.url()).await
    }

    async fn exported(&self, name: &str, selection: &[&str]) -> PathBuf {
        self.export(name, selection).await.succeeded();
        self.path(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn stop(self) {
        assert!(self.process.stop().await.success());
        self.database.discard().await;
        drop(self.receiver);
    }
}

/// Sends a webhook through a sender with a mapping. Returns its event.
async fn transformed(tenant: &Tenant, destination: &str) -> String {
    let owner = tenant.owner();
    let (sender, token) = owner.sender(destination).await;
    owner.post(&format!("/api/v1/senders/{sender}/mapping"), &json!({ "n": "number" })).await.expect(200);
    let payload = json!({ "number": 7, "secret": "not delivered" }).to_string();
    send(owner.ingest(&tenant.api_key, &token, &payload)).await.expect(202).text_of("eventId")
}

/// Runs `hooksentry audit verify` in an empty folder, without any environment.
pub(crate) async fn verify(bundle: &Path, arguments: &[&str]) -> CommandOutput {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command.args(["audit", "verify"]).arg(bundle).args(arguments);
    output(command.env_clear().current_dir(folder.path())).await
}

async fn verify_with_key(bundle: &Path, seed: u8) -> CommandOutput {
    verify(bundle, &["--key", &vkey(seed)]).await
}

/// Runs the script of a bundle in an empty folder, with Python and openssl alone.
pub(crate) async fn verify_with_python(bundle: &Path, seed: u8) -> CommandOutput {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in members(bundle) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    let mut command = Command::new("python3");
    command.args(["-I", "verify.py", &vkey(seed)]);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    output(command.current_dir(folder.path())).await
}

async fn output(command: &mut Command) -> CommandOutput {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    finished(command.spawn().expect("the program starts")).await
}

/// The members of a bundle, in their order.
pub(crate) fn members(bundle: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(bundle).expect("a bundle")));
    let entries = archive.entries().expect("an archive");
    entries
        .map(|entry| {
            let mut entry = entry.expect("a member");
            let mut content = vec![];
            entry.read_to_end(&mut content).expect("a member");
            (String::from_utf8(entry.path_bytes().into_owned()).expect("a path"), content)
        })
        .collect()
}

/// Writes a bundle with these members.
pub(crate) fn write(bundle: &Path, members: &[(String, Vec<u8>)]) {
    let file = File::create(bundle).expect("a file");
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    for (path, content) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, content.as_slice()).expect("a member");
    }
    archive.into_inner().expect("an archive").finish().expect("a file");
}

/// The lines of `facts.ndjson`.
fn facts(bundle: &Path) -> Vec<Value> {
    let members: BTreeMap<_, _> = members(bundle).into_iter().collect();
    let text = String::from_utf8(members["facts.ndjson"].clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn manifest(bundle: &Path) -> Value {
    let members: BTreeMap<_, _> = members(bundle).into_iter().collect();
    serde_json::from_slice(&members["manifest.json"]).expect("JSON")
}
