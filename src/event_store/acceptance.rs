//! The hot append of ingest: `EventAccepted` and the payload beside it, if the route is still open.
//!
//! The caller looked its route and its key up before, perhaps in a cache. Here the database decides, in
//! the statement that appends: a key revoked or a token replaced before the statement began opens
//! nothing. Of two events with the same id (twins by idempotency key) one is accepted.

use std::collections::HashMap;

use aggregates::Facts;
use aggregates::ids::{TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{Acceptance, WebhookEventFact};
use bytes::Bytes;
use sqlx::PgPool;

use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;

/// A webhook event to accept.
#[derive(Clone, Debug)]
pub struct AcceptItem {
    id: WebhookEventId,
    tenant_id: TenantId,
    key_hash: TokenHash,
    token_hash: TokenHash,
    route_version: i64,
    fact: String,
    metadata: String,
    delivered: Bytes,
    received: Option<Bytes>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// Its fact and its payload are on disk.
    Accepted,
    /// An event of this id exists already; nothing was stored.
    Exists,
    /// The route or the key is not what the caller saw; nothing was stored.
    RouteChanged,
}

/// The way a webhook event came in: what must still hold when it is stored.
#[derive(Clone, Debug)]
pub struct IngestCredentials {
    /// Hash of the API key.
    pub key_hash: TokenHash,
    /// Hash of the ingest token.
    pub token_hash: TokenHash,
    /// The route's version the caller saw.
    pub route_version: i64,
}

impl AcceptItem {
    /// An event that came in through `door`. `received` is given where it differs from `delivered`.
    pub fn new(
        id: WebhookEventId,
        door: IngestCredentials,
        acceptance: Acceptance,
        metadata: &Metadata,
        delivered: Bytes,
        received: Option<Bytes>,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id,
            tenant_id: acceptance.tenant_id,
            key_hash: door.key_hash,
            token_hash: door.token_hash,
            route_version: door.route_version,
            fact: serde_json::to_string(&WebhookEventFact::EventAccepted(acceptance))?,
            metadata: serde_json::to_string(metadata)?,
            delivered,
            received,
        })
    }
}

/// Commits acceptances.
#[derive(Debug)]
pub struct AcceptBatch {
    pool: PgPool,
    notifier: LogNotifier,
}

impl AcceptBatch {
    /// Acceptances into the log of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self { pool, notifier }
    }
}

impl Batch for AcceptBatch {
    type Item = AcceptItem;
    type Outcome = AcceptOutcome;

    fn tenant(item: &AcceptItem) -> TenantId {
        item.tenant_id
    }

    fn bytes(item: &AcceptItem) -> usize {
        item.fact.len()
            + item.metadata.len()
            + item.delivered.len()
            + item.received.as_ref().map_or(0, Bytes::len)
    }

    async fn commit(&self, items: &[AcceptItem]) -> Result<Vec<AcceptOutcome>, sqlx::Error> {
        // Twins within the batch: the first stands for all; the others find that it exists.
        let mut first_of = HashMap::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            first_of.entry(item.id).or_insert(index);
        }
        let distinct: Vec<&AcceptItem> = items
            .iter()
            .enumerate()
            .filter(|(i, item)| first_of[&item.id] == *i)
            .map(|(_, item)| item)
            .collect();
        let outcomes = accept(&self.pool, &distinct).await?;
        if outcomes.values().any(|outcome| *outcome == AcceptOutcome::Accepted) {
            self.notifier.announce(Notification::Work);
        }
        let outcome_of = |(index, item): (usize, &AcceptItem)| {
            match outcomes.get(&item.id).copied().unwrap_or(AcceptOutcome::RouteChanged) {
                AcceptOutcome::Accepted if first_of[&item.id] != index => AcceptOutcome::Exists,
                // A twin that failed its door says nothing about its sibling's: it asks again.
                outcome => outcome,
            }
        };
        Ok(items.iter().enumerate().map(outcome_of).collect())
    }
}

#[tracing::instrument(name = "db.events.accept", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn accept(
    pool: &PgPool,
    items: &[&AcceptItem],
) -> Result<HashMap<WebhookEventId, AcceptOutcome>, sqlx::Error> {
    // Ids are inserted in their order, so that two batches with common ids wait for one another
    // instead of deadlocking. `ingest_routes` and `api_keys` belong to their projections; they are
    // named here because the route must be judged in the statement that appends.
    let rows = sqlx::query!(
        r#"
        WITH incoming AS (
            SELECT *
            FROM unnest(
                $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[],
                $6::text[], $7::text[], $8::bytea[], $9::bytea[]
            ) AS incoming (
                event_id, tenant_id, key_hash, token_hash, route_version,
                fact, metadata, delivered, received
            )
        ),
        admitted AS (
            SELECT incoming.*
            FROM incoming
            JOIN ingest_routes AS route
              ON route.token_hash = incoming.token_hash
             AND route.tenant_id = incoming.tenant_id
             AND route.version = incoming.route_version
             AND route.receives
            JOIN api_keys AS key
              ON key.key_hash = incoming.key_hash
             AND key.tenant_id = incoming.tenant_id
             AND key.revoked_at IS NULL
        ),
        appended AS (
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT 'WebhookEvent', event_id::text, 1, 'EventAccepted', $10::text, fact::json, metadata::json
            FROM admitted
            ORDER BY event_id
            ON CONFLICT DO NOTHING
            RETURNING aggregate_id
        ),
        stored AS (
            INSERT INTO payloads (event_id, tenant_id, delivered, received)
            SELECT event_id, tenant_id, delivered, received
            FROM admitted
            JOIN appended ON appended.aggregate_id = admitted.event_id::text
        )
        SELECT
            admitted.event_id AS "event_id!",
            appended.aggregate_id IS NOT NULL AS "accepted!"
        FROM admitted
        LEFT JOIN appended ON appended.aggregate_id = admitted.event_id::text
        "#,
        &items.iter().map(|item| item.id.0).collect::<Vec<_>>(),
        &items.iter().map(|item| item.tenant_id.0).collect::<Vec<_>>(),
        &items.iter().map(|item| item.key_hash.0.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.token_hash.0.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.route_version).collect::<Vec<_>>(),
        &items.iter().map(|item| item.fact.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.metadata.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.delivered.to_vec()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.received.as_ref().map(|bytes| bytes.to_vec())).collect::<Vec<_>>()
            as &[Option<Vec<u8>>],
        WebhookEventFact::stored_version("EventAccepted"),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let outcome = if row.accepted { AcceptOutcome::Accepted } else { AcceptOutcome::Exists };
            (WebhookEventId(row.event_id), outcome)
        })
        .collect())
}
