//! What users read of their log, and everybody of the installation's: through the API, verified as a stranger would.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::checkpoint::SignedCheckpoint;
use evidence::entries;
use evidence::note::VerifierKey;
use evidence::policy::Policy;
use evidence::proof::LogProof;
use evidence::tree::{Hash, TileId, verify_inclusion};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{NAME, hmac, root_of, signer};
use crate::harness::api::send;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::Tenant;
use crate::harness::until;

const LOG: &str = "audit/log/";
const PUBLIC: &str = "/.well-known/hooksentry-log/";

struct Installation {
    database: TestDatabase,
    process: Process,
}

impl Installation {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let process = Launch::serve("api,projector,sealer", &database.url())
            .with("HOOKSENTRY_EVIDENCE_KEY", &signer(1).to_secret_text())
            .with("HOOKSENTRY_SEAL_INTERVAL", "200ms")
            .ready()
            .await;
        Self { database, process }
    }

    async fn tenant(&self) -> Tenant {
        Tenant::register(self.process.base()).await
    }

    async fn pool(&self) -> PgPool {
        self.database.pool().await
    }

    /// Number of facts of a tenant.
    async fn facts_of(&self, tenant: &Tenant) -> u64 {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE tenant_id::text = $1")
            .bind(tenant.tenant_id())
            .fetch_one(&self.pool().await)
            .await
            .expect("a number");
        count.cast_unsigned()
    }

    /// Waits until the signed checkpoint of a tenant covers all of its facts.
    async fn until_sealed(&self, tenant: &Tenant) -> SignedCheckpoint {
        until("a checkpoint of all facts", async || {
            let answer = tenant.owner().get(&format!("/api/v1/{LOG}checkpoint")).await;
            if answer.status == 404 {
                return None;
            }
            let signed = SignedCheckpoint::parse(answer.expect(200).text.as_bytes()).expect("a checkpoint");
            (signed.checkpoint().tree.size == self.facts_of(tenant).await).then_some(signed)
        })
        .await
    }

    async fn public(&self, path: &str) -> Vec<u8> {
        bytes(crate::harness::client().get(format!("{}{path}", self.process.base()))).await
    }

    async fn stop(self) {
        assert!(self.process.stop().await.success());
        self.database.discard().await;
    }
}

async fn bytes(request: reqwest::RequestBuilder) -> Vec<u8> {
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.url());
    answer.bytes().await.expect("a body").to_vec()
}

/// A file of the tenant's log.
async fn of_log(tenant: &Tenant, path: &str) -> Vec<u8> {
    bytes(tenant.owner().request("GET", &format!("/api/v1/{LOG}{path}"))).await
}

fn hashes(tile: &[u8]) -> Vec<[u8; 32]> {
    tile.as_chunks::<32>().0.to_vec()
}

/// The key of a log: that of the installation under the name of the log.
fn key_of(signed: &SignedCheckpoint) -> VerifierKey {
    let origin = signed.checkpoint().origin.clone();
    assert!(origin.as_str().starts_with(&format!("{NAME}/log/")), "{origin}");
    signer(1).verifier().with_name(origin)
}

/// Appends facts through the API until the log of the tenant has at least this many.
async fn append(tenant: &Tenant, count: usize) -> Vec<String> {
    let destination = tenant.destination("https://receiver.example.com/hooks", 5).await;
    let mut events = vec![];
    for number in 0..count {
        events.push(tenant.ingest(&destination, &json!({ "number": number })).await);
    }
    events
}

#[tokio::test]
async fn the_tiles_and_entries_of_a_log_lead_to_its_signed_checkpoint() {
    let installation = Installation::start().await;
    let tenant = installation.tenant().await;
    append(&tenant, 260).await;
    let signed = installation.until_sealed(&tenant).await;
    signed.verify_log(&[key_of(&signed)]).expect("a valid signature");

    let head = signed.checkpoint().tree;
    let partial = TileId::in_tree(0, 1, head.size).expect("a second tile").width();
    let mut leaves = hashes(&of_log(&tenant, "tile/0/000").await);
    leaves.extend(hashes(&of_log(&tenant, &format!("tile/0/001.p/{partial}")).await));
    assert_eq!(root_of(&leaves), *head.root.as_bytes());
    let first = hashes(&of_log(&tenant, "tile/1/000.p/1").await);
    assert_eq!(first, [root_of(&leaves[..256])]);

    let mut logged = vec![];
    for path in ["tile/entries/000".to_owned(), format!("tile/entries/001.p/{partial}")] {
        let bundle = of_log(&tenant, &path).await;
        logged.extend(entries::decode(&bundle).expect("entries").into_iter().map(Hash::of_leaf));
    }
    assert_eq!(logged, leaves.into_iter().map(Hash::from_bytes).collect::<Vec<_>>());

    for (path, status) in [
        ("tile/0/002", 404),
        ("tile/0/001.p/255", 404),
        ("tile/0/1", 404),
        ("tile/8/000", 404),
        ("tile/entries/002", 404),
        ("tile/x", 404),
    ] {
        tenant.owner().get(&format!("/api/v1/{LOG}{path}")).await.expect(status);
    }
    let viewer = tenant.owner().colleague("Viewer").await;
    viewer.get(&format!("/api/v1/{LOG}tile/entries/000")).await.expect(200);
    installation.stop().await;
}

/// Verifies a fact as its recipient would, who knows the public key and nothing else.
fn verify(fact: &Value, key: &VerifierKey) -> LogProof {
    let text = |name: &str| fact[name].as_str().unwrap_or_else(|| panic!("{name} of {fact}"));
    let salt = STANDARD.decode(text("salt")).expect("a salt");
    for (line, name) in [("metadata ", "metadata"), ("fact     ", "fact")] {
        let commitment = STANDARD.encode(hmac(&salt, text(name).as_bytes()));
        assert!(text("entry").contains(&format!("\n{line}{commitment}\n")), "{fact}");
    }
    let proof = LogProof::parse(text("proof").as_bytes()).expect("a proof");
    let policy = Policy::without_witnesses(vec![key.clone()]);
    proof.verify(text("entry").as_bytes(), &policy).expect("a proof that holds");
    assert_eq!(fact["index"], proof.index);
    proof
}

#[tokio::test]
async fn every_fact_of_an_event_is_proved_wherever_it_is_in_the_log() {
    let installation = Installation::start().await;
    let tenant = installation.tenant().await;
    let events = append(&tenant, 300).await;
    let signed = installation.until_sealed(&tenant).await;
    let key = key_of(&signed);
    let mut indexes = vec![];
    for event in [&events[0], &events[200], &events[299]] {
        let facts = tenant.get(&format!("events/{event}/proof")).await;
        assert_eq!(facts["total"], facts["items"].as_array().expect("facts").len());
        for fact in facts["items"].as_array().expect("facts") {
            let proof = verify(fact, &key);
            let mut other = Hash::of_leaf(b"another entry");
            verify_inclusion(other, proof.index, &proof.path, &signed.checkpoint().tree)
                .expect_err("another entry");
            other = Hash::of_leaf(fact["entry"].as_str().expect("an entry").as_bytes());
            verify_inclusion(other, proof.index, &proof.path, &signed.checkpoint().tree).expect("the entry");
            indexes.push(proof.index);
        }
    }
    assert!(
        indexes.is_sorted() && indexes.iter().any(|index| *index < 256) && indexes.iter().any(|i| *i > 256)
    );

    // The installation has logged the checkpoint of the tenant.
    let logged = tenant.get(&format!("{LOG}proof")).await;
    let text = |name: &str| logged[name].as_str().expect(name);
    let salt = STANDARD.decode(text("salt")).expect("a salt");
    let commitment = STANDARD.encode(hmac(&salt, text("checkpoint").as_bytes()));
    assert!(text("entry").ends_with(&format!("\ncheckpoint {commitment}\n")), "{logged}");
    let proof = LogProof::parse(text("proof").as_bytes()).expect("a proof");
    let policy = Policy::without_witnesses(vec![signer(1).verifier().clone()]);
    proof.verify(text("entry").as_bytes(), &policy).expect("a proof that holds");
    installation.stop().await;
}

#[tokio::test]
async fn the_facts_of_an_event_are_proved_after_its_payload_is_erased() {
    let installation = Installation::start().await;
    let tenant = installation.tenant().await;
    let event = append(&tenant, 1).await.remove(0);
    let key = key_of(&installation.until_sealed(&tenant).await);
    let proof = format!("events/{event}/proof");
    let before = tenant.get(&proof).await;
    let accepted = verify(&before["items"][0], &key);

    let path = format!("/api/v1/events/{event}/erase");
    tenant.owner().post(&path, &json!({ "reason": "Request 7" })).await.expect(200);
    installation.until_sealed(&tenant).await;
    let after = tenant.get(&proof).await;
    assert_eq!(after["total"], 3);
    for (fact, name) in
        after["items"].as_array().expect("facts").iter().zip(["EventAccepted", "Cancelled", "PayloadErased"])
    {
        assert!(fact["fact"].as_str().expect("a fact").starts_with(&format!("{{\"{name}\":")), "{fact}");
        verify(fact, &key);
    }
    for part in ["fact", "metadata", "salt", "entry", "index"] {
        assert_eq!(after["items"][0][part], before["items"][0][part], "{part}");
    }
    // The proof from before is still one: the tree has only grown.
    let policy = Policy::without_witnesses(vec![key]);
    let entry = after["items"][0]["entry"].as_str().expect("an entry");
    accepted.verify(entry.as_bytes(), &policy).expect("the proof from before");
    installation.stop().await;
}

#[tokio::test]
async fn the_tree_is_the_same_after_the_personal_data_of_a_user_is_erased() {
    let installation = Installation::start().await;
    let tenant = installation.tenant().await;
    let colleague = tenant.owner().colleague("Developer").await.id;
    assert_eq!(tenant.delete(&format!("users/{colleague}")).await.status, 204);
    let before = installation.until_sealed(&tenant).await.checkpoint().tree.size;
    let entries_of = async |size| {
        let bundle = of_log(&tenant, &format!("tile/entries/000.p/{size}")).await;
        entries::decode(&bundle).expect("entries").into_iter().map(|entry| entry.to_vec()).collect::<Vec<_>>()
    };
    let hashes_of = async |size| hashes(&of_log(&tenant, &format!("tile/0/000.p/{size}")).await);
    let (entries, leaves) = (entries_of(before).await, hashes_of(before).await);

    let erase = format!("/api/v1/users/{colleague}/erase");
    tenant.owner().post(&erase, &json!({ "reason": "Request 7" })).await.expect(204);
    let after = installation.until_sealed(&tenant).await.checkpoint().tree.size;
    assert_eq!(after, before + 1);
    let (all_entries, all_leaves) = (entries_of(after).await, hashes_of(after).await);
    // Entries are computed from the log when they are asked for.
    assert_eq!((&all_entries[..entries.len()], &all_leaves[..leaves.len()]), (&entries[..], &leaves[..]));
    for (entry, leaf) in all_entries.iter().zip(&all_leaves) {
        assert_eq!(Hash::of_leaf(entry).as_bytes(), leaf);
    }
    assert!(
        String::from_utf8_lossy(all_entries.last().expect("an entry")).contains("type PersonalDataErased 1")
    );
    installation.stop().await;
}

#[tokio::test]
async fn an_altered_row_is_found_at_the_position_of_the_first_one() {
    let installation = Installation::start().await;
    let tenant = installation.tenant().await;
    append(&tenant, 20).await;
    let signed = installation.until_sealed(&tenant).await;
    let size = signed.checkpoint().tree.size;
    let tile = hashes(&of_log(&tenant, &format!("tile/0/000.p/{size}")).await);
    let pool = installation.pool().await;
    // A database superuser changes and deletes rows with the trigger off.
    let tamper = async |statement: &str| {
        let statements = format!(
            "SET session_replication_role = replica; {statement} WHERE (transaction_id, position) IN (
                 SELECT transaction_id, position FROM events WHERE tenant_id = '{}'
                 ORDER BY transaction_id, position OFFSET 12 LIMIT 2
             ); RESET session_replication_role",
            tenant.tenant_id()
        );
        sqlx::raw_sql(&statements).execute(&pool).await.expect("an altered row");
    };
    let first_bad = async || {
        let bundle = of_log(&tenant, &format!("tile/entries/000.p/{size}")).await;
        let entries = entries::decode(&bundle).expect("entries");
        entries.iter().zip(&tile).position(|(entry, hash)| Hash::of_leaf(entry).as_bytes() != hash)
    };
    assert_eq!(first_bad().await, None);
    for column in ["payload", "metadata"] {
        let altered = format!("UPDATE events SET {column} = replace({column}::text, '\":', '\": ')::json");
        tamper(&altered).await;
        assert_eq!(first_bad().await, Some(12), "{column}");
        tamper(&altered.replace("'\":', '\": '", "'\": ', '\":'")).await;
        assert_eq!(first_bad().await, None, "{column}");
    }
    tamper("DELETE FROM events").await;
    tenant.owner().get(&format!("/api/v1/{LOG}tile/entries/000.p/{size}")).await.expect(500);
    installation.stop().await;
}

/// All that a user of the tenant and a stranger can read of the logs, apart from the log of the installation.
async fn everything(installation: &Installation, tenant: &Tenant, event: &str) -> Vec<Vec<u8>> {
    let size = installation.until_sealed(tenant).await.checkpoint().tree.size;
    let mut seen = vec![installation.public("/.well-known/hooksentry-log-keys").await];
    for path in
        ["checkpoint".to_owned(), format!("tile/0/000.p/{size}"), format!("tile/entries/000.p/{size}")]
    {
        seen.push(of_log(tenant, &path).await);
    }
    seen.push(bytes(tenant.owner().request("GET", &format!("/api/v1/events/{event}/proof"))).await);
    let mut logged = tenant.get(&format!("{LOG}proof")).await;
    // It is a proof in the tree of the installation.
    logged["proof"] = Value::Null;
    seen.push(logged.to_string().into_bytes());
    seen
}

#[tokio::test]
async fn what_another_tenant_does_changes_only_the_log_of_the_installation_which_has_no_names() {
    let installation = Installation::start().await;
    let (ours, theirs) = (installation.tenant().await, installation.tenant().await);
    let event = append(&ours, 3).await.remove(0);
    installation.until_sealed(&theirs).await;
    let before = everything(&installation, &ours, &event).await;
    let head = async || {
        let note = installation.public(&format!("{PUBLIC}checkpoint")).await;
        let signed = SignedCheckpoint::parse(&note).expect("a checkpoint");
        signed.verify_log(&[signer(1).verifier().clone()]).expect("a valid signature");
        signed.checkpoint().tree
    };
    let public = head().await;
    append(&theirs, 5).await;
    installation.until_sealed(&theirs).await;
    assert!(everything(&installation, &ours, &event).await == before, "nothing else changes");
    let grown = until("the log of the installation to grow", async || {
        let grown = head().await;
        (grown.size > public.size).then_some(grown)
    })
    .await;

    // Its tiles have the hashes of the tree, and there are no entries to read.
    let tile = installation.public(&format!("{PUBLIC}tile/0/000.p/{}", grown.size)).await;
    assert_eq!(root_of(&hashes(&tile)), *grown.root.as_bytes());
    let api = &ours.owner().api;
    send(api.request("GET", &format!("{PUBLIC}tile/entries/000.p/1"))).await.expect(404);
    installation.stop().await;
}

#[tokio::test]
async fn without_a_key_webhooks_are_accepted_and_the_health_says_that_nothing_is_signed() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector,sealer", &database.url()).ready().await;
    let tenant = Tenant::register(process.base()).await;
    let event = append(&tenant, 1).await.remove(0);
    tenant.owner().get(&format!("/api/v1/{LOG}checkpoint")).await.expect(404);
    let facts = tenant.get(&format!("events/{event}/proof")).await;
    assert_eq!(facts["items"][0]["proof"], Value::Null);
    let evidence = until("the trees to grow", async || {
        let health = send(tenant.owner().api.request("GET", "/health/ready")).await.expect(200).body;
        (health["evidence"]["unsignedLogs"].as_u64() > Some(0)).then(|| health["evidence"].clone())
    })
    .await;
    assert_eq!(evidence["lastCheckpointAt"], Value::Null);
    assert!(process.stop().await.success());
    database.discard().await;
}
