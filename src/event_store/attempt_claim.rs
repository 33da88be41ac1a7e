//! The hot append before an attempt: `DeliveryStarted` at the version the job carries.
//!
//! The append is the claim. Of two copies of a job, one finds the version taken and is dropped, so no
//! request leaves that the log has not announced, and no event is attempted twice at a time. A job
//! released by a dispatcher that no longer leads is void. The fact says which versions of the
//! destination's and the tenant's settings the attempt goes by; if a newer one is in force by the time of
//! the append, nothing is appended and the caller reads them again. The winner gets the payload in the
//! same round trip.

use aggregates::Facts;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use sqlx::PgPool;

use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;

/// An attempt to announce.
#[derive(Clone, Debug)]
pub struct AttemptClaimItem {
    claim: AttemptClaim,
    fact: String,
    metadata: String,
}

/// The attempt a claim is for, and what must still hold when it is announced.
#[derive(Clone, Copy, Debug)]
pub struct AttemptClaim {
    pub event_id: WebhookEventId,
    /// Version of its stream that `DeliveryStarted` follows.
    pub expected_version: u64,
    /// Epoch of the dispatcher that released the job.
    pub epoch: u64,
    pub destination_id: DestinationId,
    /// Version of the destination that the attempt goes by.
    pub destination_version: u64,
    pub tenant_id: TenantId,
    /// Version of the tenant that the attempt goes by.
    pub tenant_version: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptClaimOutcome {
    /// The attempt is announced: make it, with this payload (`None`: it was erased).
    Won(Option<Vec<u8>>),
    /// The stream has moved on, or the job's dispatcher no longer leads: drop the job.
    Lost,
    /// The destination or its tenant has newer settings: read them and ask again.
    SettingsChanged,
}

impl AttemptClaimItem {
    /// The fact to append for `claim`.
    pub fn new(
        claim: AttemptClaim,
        fact: &WebhookEventFact,
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let fact = serde_json::to_string(fact)?;
        Ok(Self { claim, fact, metadata: serde_json::to_string(metadata)? })
    }
}

/// Commits claims.
#[derive(Debug)]
pub struct AttemptClaimBatch {
    pool: PgPool,
    notifier: LogNotifier,
}

impl AttemptClaimBatch {
    /// Tickets into the log of `pool`.
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

    async fn commit(&self, items: &[AttemptClaimItem]) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
        let outcomes = announce(&self.pool, items).await?;
        if outcomes.iter().any(|outcome| matches!(outcome, AttemptClaimOutcome::Won(_))) {
            self.notifier.announce(Notification::Progress);
        }
        Ok(outcomes)
    }
}

#[tracing::instrument(name = "db.events.announce", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn announce(
    pool: &PgPool,
    items: &[AttemptClaimItem],
) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let claims = || items.iter().map(|item| &item.claim);
    // FOR SHARE makes a new leader wait until every claim of the old epoch is in the log, and makes
    // claims that come later see the new epoch: the new leader counts all attempts that are in flight.
    // `destinations` and `tenants` belong to their projections; they are named here because the settings
    // must be judged in the statement that announces their use.
    let rows = sqlx::query!(
        r#"
        WITH leadership AS (
            SELECT epoch
            FROM leaderships
            WHERE role = 'dispatcher'
            FOR SHARE
        ),
        incoming AS (
            SELECT
                incoming.*,
                destinations.version IS NOT DISTINCT FROM incoming.destination_version
                    AND tenants.version IS NOT DISTINCT FROM incoming.tenant_version AS current
            FROM unnest(
                $1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::uuid[], $7::bigint[],
                $8::text[], $9::text[]
            ) WITH ORDINALITY AS incoming (
                event_id, sequence, epoch, destination_id, destination_version, tenant_id, tenant_version,
                fact, metadata, number
            )
            LEFT JOIN destinations ON destinations.id = incoming.destination_id
            LEFT JOIN tenants ON tenants.id = incoming.tenant_id
        ),
        -- Of several copies of a job in this very statement one is let through, and it alone can win.
        candidates AS (
            SELECT DISTINCT ON (event_id, sequence) incoming.*
            FROM incoming
            JOIN leadership ON leadership.epoch = incoming.epoch
            WHERE current
            ORDER BY event_id, sequence, number
        ),
        announced AS (
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT
                'WebhookEvent', event_id::text, sequence, 'DeliveryStarted', $10::text, fact::json, metadata::json
            FROM candidates
            ORDER BY event_id
            ON CONFLICT DO NOTHING
            RETURNING aggregate_id::uuid AS event_id, sequence
        ),
        winners AS (
            SELECT candidates.number, candidates.event_id
            FROM candidates
            JOIN announced USING (event_id, sequence)
        )
        SELECT
            incoming.current AS "current!",
            winners.number IS NOT NULL AS "won!",
            payloads.delivered AS "delivered?"
        FROM incoming
        LEFT JOIN winners ON winners.number = incoming.number
        LEFT JOIN payloads ON payloads.event_id = winners.event_id
        ORDER BY incoming.number
        "#,
        &claims().map(|claim| claim.event_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| signed(claim.expected_version.saturating_add(1))).collect::<Vec<_>>(),
        &claims().map(|claim| signed(claim.epoch)).collect::<Vec<_>>(),
        &claims().map(|claim| claim.destination_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| signed(claim.destination_version)).collect::<Vec<_>>(),
        &claims().map(|claim| claim.tenant_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| signed(claim.tenant_version)).collect::<Vec<_>>(),
        &items.iter().map(|item| item.fact.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.metadata.clone()).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("DeliveryStarted"),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| match (row.won, row.current) {
            (true, _) => AttemptClaimOutcome::Won(row.delivered),
            (false, true) => AttemptClaimOutcome::Lost,
            (false, false) => AttemptClaimOutcome::SettingsChanged,
        })
        .collect())
}
