//! The append before an attempt: `DeliveryStarted` at the version that the job carries.
//!
//! The append is the claim: of two copies of a job one finds the version taken, and is dropped. So every
//! request is preceded by its `DeliveryStarted`, and an event has one attempt at a time. A job of a
//! dispatcher that no longer leads is void, and so is one whose destination has entered another stage or got
//! another limit since, as the log says. The fact names the versions of the destination and the tenant whose
//! settings the attempt uses; when the read models have a newer version at the time of the append, nothing is
//! appended and the caller reads the settings again.
//!
//! The winners' payloads are read after the commit, with one more statement for the whole batch. A transaction
//! that sends payloads to a process that has stopped reading stays open, and with it every reader of the log
//! waits.

use std::collections::HashMap;

use aggregates::Facts;
use aggregates::destination::DestinationFact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use projections::BigInt;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;

/// A claim with the fact to append.
#[derive(Clone, Debug)]
pub struct AttemptClaimItem {
    claim: AttemptClaim,
    fact: String,
    metadata: String,
}

/// Right to make one attempt, with the conditions under which it is granted.
#[derive(Clone, Copy, Debug)]
pub struct AttemptClaim {
    pub event_id: WebhookEventId,
    /// Version of the event's stream before the append.
    pub expected_version: u64,
    /// Epoch of the dispatcher that released the job.
    pub epoch: u64,
    pub destination_id: DestinationId,
    /// Version of the destination whose settings the attempt uses.
    pub destination_version: u64,
    pub tenant_id: TenantId,
    /// Version of the tenant whose settings the attempt uses.
    pub tenant_version: u64,
}

/// Outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptClaimOutcome {
    /// The claim is granted, with the payload to deliver; `None` when it was erased.
    Won(Option<ClaimedPayload>),
    /// The event has another version, tenant or destination, the destination is in another stage, or the job's
    /// dispatcher no longer leads: drop the job.
    Lost,
    /// The destination or its tenant has newer settings: read them and claim again.
    SettingsChanged,
}

/// Payload to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedPayload {
    pub bytes: Vec<u8>,
    /// Installations that the webhook passed through before this one.
    pub hops: u16,
}

impl AttemptClaimItem {
    /// Returns `claim` with the fact to append for it.
    ///
    /// # Errors
    /// When the fact or the metadata cannot be written as JSON.
    pub fn new(
        claim: AttemptClaim,
        fact: &WebhookEventFact,
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let fact = serde_json::to_string(fact)?;
        Ok(Self { claim, fact, metadata: serde_json::to_string(metadata)? })
    }
}

/// Group commit of claims.
#[derive(Debug)]
pub struct AttemptClaimBatch {
    pool: PgPool,
    notifier: LogNotifier,
}

impl AttemptClaimBatch {
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self { pool, notifier }
    }
}

impl Batch for AttemptClaimBatch {
    type Item = AttemptClaimItem;
    type Outcome = AttemptClaimOutcome;

    fn bytes(item: &AttemptClaimItem) -> usize {
        item.fact.len() + item.metadata.len()
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[AttemptClaimItem],
    ) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
        let outcomes = claim(connection, &self.pool, items).await?;
        if outcomes.iter().any(|outcome| matches!(outcome, AttemptClaimOutcome::Won(_))) {
            self.notifier.notify(Notification::Progress);
        }
        Ok(outcomes)
    }
}

/// What became of a claim in the log.
struct Claimed {
    won: bool,
    /// Whether the settings that the claim names are the current ones.
    current: bool,
}

async fn claim(
    connection: &mut PgConnection,
    pool: &PgPool,
    items: &[AttemptClaimItem],
) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
    let claimed = append(connection, items).await?;
    let event_id = |item: &AttemptClaimItem| item.claim.event_id.0;
    let winners: (Vec<Uuid>, Vec<Uuid>) = items
        .iter()
        .zip(&claimed)
        .filter(|(_, claimed)| claimed.won)
        .map(|(item, _)| (event_id(item), item.claim.tenant_id.0))
        .unzip();
    let mut payloads = match payloads(connection, &winners).await {
        Ok(payloads) => payloads,
        // The claims are in the log: without their payloads these attempts would have to be given up.
        Err(error) => {
            tracing::debug!(%error, "reading the payloads of claims failed, retrying with another connection");
            payloads(&mut *pool.acquire().await?, &winners).await?
        }
    };
    let outcomes = items.iter().zip(claimed).map(|(item, claimed)| match claimed {
        Claimed { won: true, .. } => AttemptClaimOutcome::Won(payloads.remove(&event_id(item))),
        Claimed { current: true, .. } => AttemptClaimOutcome::Lost,
        Claimed { .. } => AttemptClaimOutcome::SettingsChanged,
    });
    Ok(outcomes.collect())
}

#[tracing::instrument(name = "db.events.claim_attempts", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn append(
    connection: &mut PgConnection,
    items: &[AttemptClaimItem],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let claims = || items.iter().map(|item| &item.claim);
    sqlx::query_file_as!(
        Claimed,
        "src/event_store/attempt_claim.sql",
        &claims().map(|claim| claim.event_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.expected_version.saturating_add(1))).collect::<Vec<_>>()
            as &[BigInt],
        &claims().map(|claim| BigInt(claim.epoch)).collect::<Vec<_>>() as &[BigInt],
        &claims().map(|claim| claim.destination_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.destination_version)).collect::<Vec<_>>() as &[BigInt],
        &claims().map(|claim| claim.tenant_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.tenant_version)).collect::<Vec<_>>() as &[BigInt],
        &items.iter().map(|item| item.fact.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.metadata.clone()).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("DeliveryStarted"),
        &DestinationFact::VOIDING_JOBS.map(str::to_owned) as &[String],
    )
    .fetch_all(connection)
    .await
}

/// Returns the payloads of those events, each of the tenant at the same place, that have one. A join without LIMIT would
/// be planned as a scan of the whole table while that is small, and the plan is kept while it grows.
#[tracing::instrument(name = "db.payloads.of_claims", level = "debug", skip_all, fields(events = events.len()), err(level = "debug"))]
async fn payloads(
    connection: &mut PgConnection,
    (events, tenants): &(Vec<Uuid>, Vec<Uuid>),
) -> Result<HashMap<Uuid, ClaimedPayload>, sqlx::Error> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"
        SELECT claimed.event_id AS "event_id!", payload.delivered, payload.hops
        FROM unnest($1::uuid[], $2::uuid[]) AS claimed (event_id, tenant_id)
        CROSS JOIN LATERAL (
            SELECT delivered, hops
            FROM payloads
            WHERE payloads.event_id = claimed.event_id
              AND payloads.tenant_id = claimed.tenant_id
            LIMIT 1
        ) AS payload
        "#,
        events,
        tenants,
    )
    .fetch_all(connection)
    .await?;
    let payload = |bytes, hops| ClaimedPayload { bytes, hops: u16::try_from(hops).unwrap_or_default() };
    Ok(rows.into_iter().map(|row| (row.event_id, payload(row.delivered, row.hops))).collect())
}
