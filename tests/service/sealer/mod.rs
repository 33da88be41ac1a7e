//! Transparency logs on a real PostgreSQL: facts, trees and signed checkpoints.

mod keys;
mod leading;
mod logging;
mod restoring;
mod serving;
mod tampering;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::checkpoint::SignedCheckpoint;
use evidence::note::{SignerKey, VerifierKey};
use evidence::tree::TreeHead;
use hmac::{Hmac, KeyInit, Mac};
use hooksentry::config::EvidenceSettings;
use hooksentry::sealer::{Sealer, Term};
use hooksentry::secrets::master_keys::MasterKeys;
use hooksentry::secrets::vault::Vault;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::until;

const NAME: &str = "hooks.example.com";
const MASTER_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

pub(crate) fn tenant(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn signer(seed: u8) -> SignerKey {
    SignerKey::from_seed(NAME.parse().unwrap(), &[seed; 32])
}

/// Settings with the keys of these seeds.
pub(crate) fn with_keys(seeds: &[u8]) -> EvidenceSettings {
    let keys: Vec<String> = seeds.iter().map(|seed| signer(*seed).to_secret_text()).collect();
    let evidence_key = (!keys.is_empty()).then(|| keys.join(",").parse().unwrap());
    EvidenceSettings {
        evidence_key,
        evidence_key_file: None,
        seal_interval: Duration::from_millis(200),
        witness_policy: None,
        evidence_timeout: Duration::from_secs(10),
        tsa_url: None,
        tsa_interval: Duration::from_secs(3_600),
    }
}

fn with_key_file(file: PathBuf) -> EvidenceSettings {
    EvidenceSettings { evidence_key_file: Some(file), ..with_keys(&[]) }
}

/// A signed checkpoint of a tenant's log.
struct Sealed {
    log_id: Uuid,
    signed: SignedCheckpoint,
}

impl Sealed {
    /// The public half of the key of this seed, under the name of the log.
    fn key(&self, seed: u8) -> VerifierKey {
        signer(seed).verifier().with_name(format!("{NAME}/log/{}", self.log_id).parse().unwrap())
    }

    fn head(&self) -> TreeHead {
        self.signed.checkpoint().tree
    }

    #[track_caller]
    fn is_signed_with(&self, seeds: &[u8]) {
        let keys: Vec<VerifierKey> = seeds.iter().map(|seed| self.key(*seed)).collect();
        assert_eq!(self.signed.verify_log(&keys).expect("a valid signature").len(), seeds.len());
        assert_eq!(self.signed.note().to_string().matches('—').count(), seeds.len());
    }
}

impl Fixture {
    fn vault(&self) -> Vault {
        let master_keys: MasterKeys = MASTER_KEY.parse().unwrap();
        Vault::new(self.pool.clone(), master_keys)
    }

    pub(crate) fn sealer(&self, settings: &EvidenceSettings) -> Sealer {
        Sealer::new(self.pool.clone(), self.vault(), settings)
    }

    async fn seal_term(&self, settings: &EvidenceSettings) -> Term {
        self.sealer(settings).lead().await.expect("the lead")
    }

    /// Appends facts of one tenant, whose JSON is not in a canonical form.
    pub(crate) async fn append_facts(&self, tenant: Uuid, count: i64) {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT
                'WebhookEvent', gen_random_uuid()::text, 1, 'EventAccepted', '1.0',
                format('{ "number" : %s.50,"a":1, "a":2 }', number)::json,
                format('{"tenantId" :  "%s"}', $1::uuid)::json
            FROM generate_series(1, $2) AS number
            "#,
        )
        .bind(tenant)
        .bind(count)
        .execute(&self.pool)
        .await
        .expect("facts");
    }

    /// Appends leaves until every committed fact has one, and signs. Other tests on the same server may hold readers
    /// back.
    pub(crate) async fn seal_all(&self, term: &mut Term) -> usize {
        until("the trees to have all facts", async || {
            term.append().await.expect("a page");
            let facts = self.number("SELECT count(*) FROM events").await;
            (self.number(LEAVES).await == facts).then_some(())
        })
        .await;
        term.seal().await.expect("signatures")
    }

    /// The last signed checkpoint of a tenant's log.
    async fn last_sealed(&self, tenant: Uuid) -> Option<Sealed> {
        let last: Option<(Uuid, String)> = sqlx::query_as(
            "SELECT log_id, note
             FROM evidence_checkpoints JOIN evidence_trees AS tree USING (log_id)
             WHERE tree.tenant_id = $1
             ORDER BY tree.era DESC, evidence_checkpoints.size DESC
             LIMIT 1",
        )
        .bind(tenant)
        .fetch_optional(&self.pool)
        .await
        .expect("an answer");
        last.map(|(log_id, note)| Sealed {
            log_id,
            signed: SignedCheckpoint::parse(note.as_bytes()).unwrap(),
        })
    }

    /// Hashes of the leaves of a tenant's facts, computed from the log as an auditor would, without our code.
    async fn leaves_of_log(&self, tenant: Uuid) -> Vec<[u8; 32]> {
        let key: Vec<u8> = self.evidence_key(tenant).await;
        let facts: Vec<Fact> = sqlx::query_as(
            "SELECT aggregate_type || '/' || aggregate_id, sequence, event_type || ' ' || event_version,
                    to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                    metadata::text, payload::text
             FROM events
             WHERE tenant_id = $1
             ORDER BY transaction_id, position",
        )
        .bind(tenant)
        .fetch_all(&self.pool)
        .await
        .expect("facts");
        let leaf = |(stream, sequence, kind, recorded, metadata, fact): Fact| {
            let salt = hmac(&key, format!("{stream}/{sequence}").as_bytes());
            let commit = |text: String| STANDARD.encode(hmac(&salt, text.as_bytes()));
            let entry = format!(
                "hooksentry.dev/fact/v1\nstream {stream}\nsequence {sequence}\ntype {kind}\nrecorded {recorded}\n\
                 metadata {}\nfact     {}\n",
                commit(metadata),
                commit(fact)
            );
            leaf_hash(entry.as_bytes())
        };
        facts.into_iter().map(leaf).collect()
    }

    /// The evidence key of a tenant: HMAC-SHA256 of its purpose under the tenant's data key.
    async fn evidence_key(&self, tenant: Uuid) -> Vec<u8> {
        let (id, wrapped): (Uuid, Vec<u8>) =
            sqlx::query_as("SELECT id, wrapped FROM data_keys WHERE tenant_id = $1")
                .bind(tenant)
                .fetch_one(&self.pool)
                .await
                .expect("a data key");
        hmac(&unwrapped(id, tenant, &wrapped), b"hooksentry evidence key v1")
    }

    /// Asserts that the signed head of a tenant's log is that of the tree of all its facts.
    async fn assert_sealed(&self, tenant: Uuid) -> Sealed {
        let sealed = self.last_sealed(tenant).await.expect("a checkpoint");
        let leaves = self.leaves_of_log(tenant).await;
        assert_eq!(sealed.head().size, leaves.len() as u64);
        assert_eq!(*sealed.head().root.as_bytes(), root_of(&leaves));
        sealed
    }
}

/// Stream, sequence, type and version, time, metadata and payload.
type Fact = (String, i64, String, String, String, String);

/// Number of facts that have leaves.
const LEAVES: &str = "SELECT coalesce(sum(size - CASE WHEN continues IS NULL THEN 0 ELSE 1 END), 0)::bigint
                      FROM evidence_trees WHERE tenant_id IS NOT NULL";

fn unwrapped(id: Uuid, tenant: Uuid, wrapped: &[u8]) -> Vec<u8> {
    use aes_gcm::aead::{Aead, KeyInit as _, Payload};
    let master: [u8; 32] = STANDARD.decode(MASTER_KEY).unwrap().try_into().expect("32 bytes");
    let cipher = aes_gcm::Aes256Gcm::new((&master).into());
    let (nonce, ciphertext) = wrapped.split_first_chunk::<12>().expect("a nonce");
    let aad = [b"hooksentry data key v1".as_slice(), id.as_bytes(), tenant.as_bytes()].concat();
    cipher.decrypt(&aes_gcm::Nonce::from(*nonce), Payload { msg: ciphertext, aad: &aad }).expect("a data key")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sha256::digest([&[0], entry].concat()).into()
}

/// RFC 6962, section 2.1, word for word.
fn root_of(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::digest([&[1], root_of(left).as_slice(), &root_of(right)].concat()).into()
        }
    }
}
