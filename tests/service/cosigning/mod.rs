//! Cosignatures of witnesses for the log of an installation: real witnesses, and such that do not do what they should.

mod bundles;
mod failing;
mod forks;
mod publishing;
mod quorum;

use std::fs;
use std::path::PathBuf;

use evidence::checkpoint::SignedCheckpoint;
use evidence::note::{CosignerKey, SignerKey};
use evidence::policy::Policy;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tempfile::TempDir;

use crate::harness::api::send;
use crate::harness::client;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process, ReservedPort};
use crate::harness::tenant::Tenant;
use crate::harness::until;
use crate::harness::witness::Witness;

const NAME: &str = "hooks.example.com";

fn signer() -> SignerKey {
    SignerKey::from_seed(NAME.parse().unwrap(), &[1; 32])
}

/// The key of the witness with this name.
fn cosigner(name: &str) -> CosignerKey {
    let seed = Sha256::digest(name).into();
    CosignerKey::from_seed(format!("witness.example.org/{name}").parse().unwrap(), &seed)
}

/// The line of a policy for a witness at a URL.
fn witness_line(name: &str, url: &str) -> String {
    format!("witness {name} {} {url}\n", cosigner(name).verifier())
}

/// Witnesses that an installation has a policy for. Each has a folder and a port, and may not run.
struct Witnesses {
    folder: TempDir,
    ports: Vec<(&'static str, ReservedPort)>,
}

impl Witnesses {
    fn new(names: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, ports: names.iter().map(|name| (*name, ReservedPort::new())).collect() }
    }

    fn lines(&self) -> String {
        let line = |(name, reserved): &(&str, ReservedPort)| {
            witness_line(name, &format!("http://127.0.0.1:{}/", reserved.port))
        };
        self.ports.iter().map(line).collect()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a witness, with the state that it has if it ran before.
    async fn start(&self, name: &str) -> Witness {
        let (_, reserved) = self.ports.iter().find(|(known, _)| *known == name).expect("a witness");
        let folder = self.folder(name);
        fs::create_dir_all(&folder).expect("a folder");
        Witness::start(&folder, &cosigner(name), signer().verifier(), reserved.port).await
    }
}

/// An installation whose log witnesses cosign.
struct Installation {
    database: TestDatabase,
    process: Process,
    tenant: Tenant,
    /// Of its public log.
    policy: Policy,
    folder: TempDir,
}

impl Installation {
    async fn start(policy: &str) -> Self {
        Self::start_with(policy, &[]).await
    }

    async fn start_with(policy: &str, settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("policy");
        fs::write(&file, policy).expect("a policy");
        let mut launch = Launch::serve("api,projector,sealer", &database.url())
            .with("HOOKSENTRY_EVIDENCE_KEY", &signer().to_secret_text())
            .with("HOOKSENTRY_SEAL_INTERVAL", "200ms")
            .with("HOOKSENTRY_WITNESS_POLICY", file.to_str().expect("a path"));
        for (name, value) in settings {
            launch = launch.with(name, value);
        }
        let process = launch.ready().await;
        let tenant = Tenant::register(process.base()).await;
        let mut policy = Policy::parse(policy.as_bytes()).expect("a policy");
        policy.add_log(signer().verifier().clone());
        Self { database, process, tenant, policy, folder }
    }

    async fn pool(&self) -> PgPool {
        self.database.pool().await
    }

    /// Runs a query that returns one number.
    async fn number(&self, query: &str) -> u64 {
        let number: i64 = sqlx::query_scalar(query).fetch_one(&self.pool().await).await.expect(query);
        number.cast_unsigned()
    }

    /// Number of entries of the installation's log at its last signed checkpoint.
    async fn signed(&self) -> u64 {
        self.number(
            "SELECT coalesce(max(size), 0) FROM evidence_checkpoints WHERE installation_log_id IS NULL",
        )
        .await
    }

    /// Appends facts until the log of the installation is signed again. Returns its number of entries.
    async fn grow(&self) -> u64 {
        let before = self.signed().await;
        self.tenant.destination("https://receiver.example.com/hooks", 5).await;
        until("the next checkpoint", async || {
            let signed = self.signed().await;
            (signed > before).then_some(signed)
        })
        .await
    }

    /// The public checkpoint; `None`: none is shown.
    async fn shown(&self) -> Option<SignedCheckpoint> {
        let url = format!("{}/.well-known/hooksentry-log/checkpoint", self.process.base());
        let answer = client().get(url).send().await.expect("an answer");
        match answer.status().as_u16() {
            404 => None,
            status => {
                assert_eq!(status, 200);
                let note = answer.bytes().await.expect("a body");
                Some(SignedCheckpoint::parse(&note).expect("a checkpoint"))
            }
        }
    }

    /// Waits until a checkpoint with at least this many entries is shown, which must have the quorum.
    async fn until_shown(&self, size: u64) -> SignedCheckpoint {
        until("a cosigned checkpoint", async || {
            let shown = self.shown().await?;
            self.policy.check(&shown).expect("the quorum");
            (shown.checkpoint().tree.size >= size).then_some(shown)
        })
        .await
    }

    /// Number of submissions to a witness with this result.
    async fn submissions(&self, witness: &str, result: &str) -> u64 {
        let url = format!("{}/metrics", self.process.base());
        let metrics = client().get(url).send().await.expect("an answer").text().await.expect("text");
        let line = metrics.lines().find(|line| {
            line.starts_with("hooksentry_witness_submissions_total{")
                && line.contains(&format!("witness=\"{witness}\""))
                && line.contains(&format!("result=\"{result}\""))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    async fn until_submitted(&self, witness: &str, result: &str) {
        until(&format!("a submission to {witness} that is {result}"), async || {
            (self.submissions(witness, result).await > 0).then_some(())
        })
        .await;
    }

    /// Waits until the health check, which is up to a second old, says this about the logs.
    async fn until_healthy(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        until(what, async || {
            let ready = send(self.tenant.owner().api.request("GET", "/health/ready")).await.expect(200).body;
            is_so(&ready["evidence"]).then_some(())
        })
        .await;
    }

    async fn ingest(&self) -> String {
        let destination = self.tenant.destination("https://receiver.example.com/hooks", 5).await;
        self.tenant.ingest(&destination, &json!({ "number": 1 })).await
    }

    async fn stop(self) {
        assert!(self.process.stop().await.success());
        self.database.discard().await;
        drop(self.folder);
    }
}
