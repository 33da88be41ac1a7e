//! Leaves of facts, computed from the event log by several tasks at once.

use std::collections::HashMap;

use aggregates::ids::TenantId;
use evidence::leaf::{self, Salt};
use evidence::tree::Hash;
use futures::TryStreamExt;
use projections::{BigInt, LogPosition};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{CheckFailure, Keys};
use crate::bundle::Checked;
use crate::evidence_log::contents::{self, Contents};
use crate::evidence_log::{self, FactRow};

/// Leaf of a fact.
pub(super) struct Leaf {
    pub(super) tenant: Uuid,
    pub(super) position: LogPosition,
    /// `None`: the key of the tenant was deleted.
    pub(super) hash: Option<Hash>,
    /// What is wrong with the payload or the response to which the fact commits.
    pub(super) bad_contents: Option<&'static str>,
}

/// Consecutive facts of the event log.
pub(super) struct Part {
    pub(super) leaves: Vec<Leaf>,
    pub(super) payloads: Checked,
    pub(super) responses: Checked,
    pub(super) personal: Checked,
}

/// Reads the facts after one position and up to another, and computes their leaves.
pub(super) async fn read(
    pool: PgPool,
    keys: std::sync::Arc<Keys>,
    tenant: Option<Uuid>,
    after: LogPosition,
    until: LogPosition,
) -> Result<Part, CheckFailure> {
    let mut connection = pool.acquire().await?;
    let page = evidence_log::part(&mut connection, tenant, after, until).await?;
    let rows = page.facts()?;
    let mut part = Part {
        leaves: vec![],
        payloads: Checked::default(),
        responses: Checked::default(),
        personal: Checked::default(),
    };
    let key_of = |fact: &FactRow<&str>| keys.get(&fact.tenant_id).and_then(Option::as_ref);
    let mut hashes =
        leaf::fact_hashes(rows.iter().filter_map(|fact| Some((key_of(fact)?, fact.leaf())))).into_iter();
    part.leaves.extend(rows.iter().map(|fact| Leaf {
        tenant: fact.tenant_id,
        position: fact.log_position(),
        // A fact that the program cannot have written has no leaf: the hash of no tree.
        hash: key_of(fact).map(|_| hashes.next().and_then(Result::ok).unwrap_or(Hash::EMPTY_ROOT)),
        bad_contents: None,
    }));
    part.check_contents(&mut connection, &rows).await?;
    part.check_personal(&mut connection, &rows).await?;
    Ok(part)
}

impl Part {
    /// Compares the payloads and responses that are still stored with what the facts commit to.
    async fn check_contents(
        &mut self,
        connection: &mut PgConnection,
        rows: &[FactRow<&str>],
    ) -> Result<(), sqlx::Error> {
        let (mut payloads, mut responses) = (HashMap::new(), HashMap::new());
        let (mut events, mut attempts) = (vec![], vec![]);
        for (number, fact) in rows.iter().enumerate() {
            let tenant = TenantId(fact.tenant_id);
            let Ok(event) = fact.aggregate_id.parse::<Uuid>() else { continue };
            // A fact that cannot be read is not the one that was logged, and is found by its leaf.
            match contents::of_fact(fact.event_type, fact.payload).ok().flatten() {
                Some(Contents::Payload { delivered, received }) => {
                    events.push((tenant, event));
                    payloads.insert(event, (number, delivered, received));
                }
                Some(Contents::Response { attempt, commitment }) => {
                    let Ok(attempt) = i32::try_from(attempt) else { continue };
                    attempts.push((tenant, event, attempt));
                    responses.insert((event, attempt), (number, commitment));
                }
                Some(Contents::Email { .. }) | None => {}
            }
        }
        if !events.is_empty() {
            let mut stored = contents::payloads(connection, &events);
            while let Some(payload) = stored.try_next().await? {
                let Some((number, delivered, received)) = payloads.remove(&payload.event_id) else {
                    continue;
                };
                let salt = payload.salt.as_deref();
                let same = is_committed(salt, &payload.delivered, delivered.as_deref())
                    && match (&payload.received, &received) {
                        (Some(bytes), commitment) => is_committed(salt, bytes, commitment.as_deref()),
                        (None, commitment) => commitment.is_none(),
                    };
                self.note(number, same, "the stored payload or its salt is not what the fact commits to");
                self.payloads.verified += u64::from(same);
            }
        }
        self.payloads.not_stored += payloads.len() as u64;
        if !attempts.is_empty() {
            for kept in contents::responses(connection, &attempts).await? {
                let Some((number, commitment)) = responses.remove(&(kept.event_id, kept.attempt)) else {
                    continue;
                };
                let same = is_committed(Some(&kept.salt), kept.response.as_bytes(), Some(&commitment));
                self.note(number, same, "the stored response or its salt is not what the fact commits to");
                self.responses.verified += u64::from(same);
            }
        }
        self.responses.not_stored += responses.len() as u64;
        Ok(())
    }

    /// Compares the email addresses and origins that are still stored with what facts and metadata commit to.
    async fn check_personal(
        &mut self,
        connection: &mut PgConnection,
        rows: &[FactRow<&str>],
    ) -> Result<(), sqlx::Error> {
        let (mut emails, mut of_emails) = (vec![], vec![]);
        let (mut origins, mut of_origins) = (vec![], vec![]);
        for (number, fact) in rows.iter().enumerate() {
            let tenant = TenantId(fact.tenant_id);
            if let Some((id, commitment)) = contents::origin_of(fact.metadata) {
                origins.push((tenant, id));
                of_origins.push((number, commitment));
            }
            let Ok(user) = fact.aggregate_id.parse::<Uuid>() else { continue };
            if let Ok(Some(Contents::Email { commitment })) = contents::of_fact(fact.event_type, fact.payload)
            {
                emails.push((tenant, user, BigInt(fact.sequence.0)));
                of_emails.push((number, commitment));
            }
        }
        if !emails.is_empty() {
            let stored = contents::emails(connection, &emails).await?;
            self.check_texts(
                &of_emails,
                &stored,
                "the stored email address or its salt is not what the fact commits to",
            );
        }
        if !origins.is_empty() {
            let stored = contents::origins(connection, &origins).await?;
            let problem =
                "the stored client address, its user agent or its salt is not what the metadata commits to";
            self.check_texts(&of_origins, &stored, problem);
        }
        Ok(())
    }

    fn check_texts(
        &mut self,
        committed: &[(usize, String)],
        stored: &[contents::StoredText],
        problem: &'static str,
    ) {
        for text in stored {
            let index = usize::try_from(text.number - 1).ok();
            let Some((number, commitment)) = index.and_then(|index| committed.get(index)) else { continue };
            let same = is_committed(Some(&text.salt), text.text.as_bytes(), Some(commitment));
            self.note(*number, same, problem);
            self.personal.verified += u64::from(same);
        }
        self.personal.not_stored += (committed.len() - stored.len()) as u64;
    }

    fn note(&mut self, number: usize, same: bool, problem: &'static str) {
        if !same {
            self.leaves[number].bad_contents = Some(problem);
        }
    }
}

/// Whether bytes are what a commitment is for. A fact of an early version has no commitment, and its payload no salt.
fn is_committed(salt: Option<&[u8]>, bytes: &[u8], commitment: Option<&str>) -> bool {
    match (salt, commitment) {
        (None, None) => true,
        (Some(salt), Some(commitment)) => <[u8; 32]>::try_from(salt)
            .is_ok_and(|salt| hex::encode(Salt::from_bytes(salt).commit(bytes).as_bytes()) == commitment),
        _ => false,
    }
}
