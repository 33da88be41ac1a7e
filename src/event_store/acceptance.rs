//! The append of ingest: `EventAccepted` with its payload, on condition that the credentials are still valid.
//!
//! The caller has looked up the route and the API key, perhaps in a cache. The statement that appends checks
//! them again: it accepts nothing with a key that was revoked, or a token that was replaced, before it began, and
//! nothing of a tenant that is suspended.
//! Of several events with the same id (which follows from the idempotency key) one is accepted. Other ids are new. If one
//! is not, because the answer to a commit was lost, or because another process accepts the same key at the same time, the
//! batch is rejected and committed again by a statement that looks for existing events first.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregates::Facts;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{Acceptance, WebhookEventFact};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use projections::{LogPosition, TransactionId};
use sqlx::PgConnection;

use super::EventStore;
use super::accept_pace::{self, SmallTraffic};
use super::accept_queue::Waiting;
use super::accepted_events::{AcceptedEvent, AcceptedEvents};
use super::claimed_payload::{ClaimedEvent, ClaimedPayload};
use super::distinct::distinct;
use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;
use super::recent_payloads::RecentPayloads;
use crate::database;
use crate::secrets::salt::Salt;

/// Webhooks that one commit accepts. Each kind of append has one commit at a time, so this is what accepting may take while
/// attempts are to be claimed and recorded, in batches of hundreds. Higher: when more is offered than can be delivered,
/// accepting it takes the processors that deliver, and a backlog grows. Lower: bursts are accepted more slowly.
pub(super) const ACCEPTED_AT_ONCE: usize = 64;

/// A webhook event to accept.
#[derive(Clone, Debug)]
pub struct AcceptItem {
    id: WebhookEventId,
    tenant_id: TenantId,
    destination_id: DestinationId,
    at: DateTime<Utc>,
    key_hash: TokenHash,
    token_hash: TokenHash,
    route_version: i64,
    fact: String,
    metadata: String,
    delivered: Bytes,
    received: Option<Bytes>,
    salt: Salt,
    idempotency_key: Option<String>,
    hops: i16,
    /// Released with the item.
    _held: Option<Arc<dyn Any + Send + Sync>>,
    _waiting: Option<Arc<Waiting>>,
}

/// Outcome of one acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// The fact and the payload are on disk.
    Accepted,
    /// An event with this id exists already; nothing was stored.
    Exists,
    /// The route, the API key or the tenant has changed since the caller looked them up; nothing was stored.
    RouteChanged,
}

/// Credentials and route of an ingest request, which must still be valid when the event is stored.
#[derive(Clone, Debug)]
pub struct IngestCredentials {
    /// Hash of the API key.
    pub key_hash: TokenHash,
    /// Hash of the ingest token.
    pub token_hash: TokenHash,
    /// Version of the route that the caller looked up.
    pub route_version: i64,
}

/// Payload of a webhook event, as it is stored.
pub struct AcceptedPayload {
    pub delivered: Bytes,
    /// `None` if it is the delivered one.
    pub received: Option<Bytes>,
    /// Key of the commitments that the fact has.
    pub salt: Salt,
    /// Key that the id of the event follows from.
    pub idempotency_key: Option<String>,
}

impl AcceptItem {
    /// Returns an event that was sent with `credentials`.
    ///
    /// # Errors
    /// When the fact or the metadata cannot be written as JSON.
    pub fn new(
        id: WebhookEventId,
        credentials: IngestCredentials,
        acceptance: Acceptance,
        metadata: &Metadata,
        payload: AcceptedPayload,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id,
            tenant_id: acceptance.tenant_id,
            destination_id: acceptance.destination_id,
            at: acceptance.at,
            key_hash: credentials.key_hash,
            token_hash: credentials.token_hash,
            route_version: credentials.route_version,
            fact: serde_json::to_string(&WebhookEventFact::EventAccepted(acceptance))?,
            metadata: serde_json::to_string(metadata)?,
            delivered: payload.delivered,
            received: payload.received,
            salt: payload.salt,
            idempotency_key: payload.idempotency_key,
            hops: 0,
            _held: None,
            _waiting: None,
        })
    }

    /// Stores that the webhook passed through so many installations before this one.
    #[must_use]
    pub fn after_hops(self, hops: u16) -> Self {
        Self { hops: i16::try_from(hops).unwrap_or(i16::MAX), ..self }
    }

    fn accepted_at(&self, position: LogPosition) -> AcceptedEvent {
        AcceptedEvent {
            position,
            event_id: self.id,
            tenant_id: self.tenant_id,
            destination_id: self.destination_id,
            at: self.at,
        }
    }

    /// Returns what is judged once for all events that have it in common: tenant, hashes of API key and ingest token,
    /// version of the route.
    fn credentials(&self) -> (TenantId, &str, &str, i64) {
        (self.tenant_id, &self.key_hash.0, &self.token_hash.0, self.route_version)
    }

    fn claimed_event(&self) -> ClaimedEvent {
        ClaimedEvent { event_id: self.id, tenant_id: self.tenant_id }
    }

    fn claimed_payload(&self) -> ClaimedPayload {
        ClaimedPayload {
            // A copy: the bytes may be a part of a larger buffer of the connection.
            bytes: Bytes::copy_from_slice(&self.delivered),
            hops: u16::try_from(self.hops).unwrap_or_default(),
        }
    }

    /// Keeps `resource` until the item is committed or refused, even if the caller stops waiting.
    #[must_use]
    pub fn holding(self, resource: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _held: Some(resource), ..self }
    }

    /// Counts the item as one that waits, until it is committed or refused, even if the caller stops waiting.
    pub(super) fn counted(self, waiting: Waiting) -> Self {
        Self { _waiting: Some(Arc::new(waiting)), ..self }
    }
}

/// Which of the two group commits of acceptances it is.
#[derive(Clone, Debug)]
pub enum AcceptedSize {
    Small(SmallTraffic),
    /// Leaves room for the small ones.
    Large(SmallTraffic),
}

/// Group commit of acceptances.
#[derive(Debug)]
pub struct AcceptBatch {
    size: AcceptedSize,
    notifier: LogNotifier,
    accepted: AcceptedEvents,
    recent_payloads: RecentPayloads,
}

impl AcceptBatch {
    #[must_use]
    pub fn new(size: AcceptedSize, notifier: LogNotifier) -> Self {
        let (accepted, recent_payloads) = (AcceptedEvents::default(), RecentPayloads::default());
        Self { size, notifier, accepted, recent_payloads }
    }

    /// Hands what is accepted to the dispatcher that uses `store`, and its payload to the worker.
    #[must_use]
    pub fn handing_over(self, store: &EventStore) -> Self {
        Self {
            accepted: store.accepted_events().clone(),
            recent_payloads: store.recent_payloads().clone(),
            ..self
        }
    }

    /// Notifies the readers of the log of what was accepted.
    fn announce(&self, accepted: &[(&AcceptItem, LogPosition)]) {
        if accepted.is_empty() {
            return;
        }
        let events = accepted.iter().map(|(item, position)| item.accepted_at(*position));
        if self.accepted.hand_over(events.collect()) {
            for (item, _) in accepted {
                self.recent_payloads.keep(item.claimed_event(), item.claimed_payload());
            }
            // The dispatcher need not read the log for these.
            self.notifier.notify(Notification::Progress);
        } else {
            self.notifier.notify(Notification::NewWork);
        }
    }
}

impl Batch for AcceptBatch {
    type Item = AcceptItem;
    type Outcome = AcceptOutcome;

    const ITEMS_MAX: usize = ACCEPTED_AT_ONCE;

    // An item that was accepted the first time gets `Exists` the second time.
    const IS_REPEATABLE: bool = true;

    fn tenant(item: &AcceptItem) -> TenantId {
        item.tenant_id
    }

    fn bytes(item: &AcceptItem) -> usize {
        item.fact.len()
            + item.metadata.len()
            + item.delivered.len()
            + item.received.as_ref().map_or(0, Bytes::len)
            + item.idempotency_key.as_ref().map_or(0, String::len)
    }

    fn pause_after(&self, commit: Duration) -> Duration {
        let pause = accept_pace::pause_after(commit, self.accepted.undelivered());
        match &self.size {
            AcceptedSize::Small(_) => pause,
            AcceptedSize::Large(small) => pause.max(small.pause_after_large(commit, Instant::now())),
        }
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[AcceptItem],
    ) -> Result<Vec<AcceptOutcome>, sqlx::Error> {
        // Of items with the same id only the first is sent.
        let mut sent: Vec<(usize, &AcceptItem)> = items.iter().enumerate().collect();
        sent.sort_by_key(|(_, item)| item.id);
        sent.dedup_by_key(|(_, item)| item.id);
        let distinct: Vec<&AcceptItem> = sent.iter().map(|(_, item)| *item).collect();
        if let AcceptedSize::Small(small) = &self.size {
            small.note(Instant::now());
        }
        let accepted = match accept(connection, &distinct, Existing::OfIdempotencyKeys).await {
            Err(error) if database::is_unique_violation(&error) => {
                accept(connection, &distinct, Existing::All).await?
            }
            accepted => accepted?,
        };
        let outcomes = accepted.outcomes(distinct.len());
        let appended =
            distinct.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == AcceptOutcome::Accepted);
        let appended: Vec<_> = appended.map(|(item, _)| *item).zip(accepted.positions()).collect();
        self.announce(&appended);
        let outcome_of = |(index, item): (usize, &AcceptItem)| {
            // Always found: each id was sent.
            let number = sent.partition_point(|(_, sent)| sent.id < item.id);
            match outcomes[number] {
                AcceptOutcome::Accepted if sent[number].0 != index => AcceptOutcome::Exists,
                // If the item that was sent had invalid credentials, this one may have others: its caller looks the
                // route up and tries again.
                outcome => outcome,
            }
        };
        Ok(items.iter().enumerate().map(outcome_of).collect())
    }
}

/// Events that are looked up before they are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    OfIdempotencyKeys,
    All,
}

/// What the statement returns.
#[derive(Debug)]
struct Accepted {
    /// `None`: all were appended.
    outcomes: Option<Vec<i16>>,
    /// `None`: none was appended.
    transaction_id: Option<TransactionId>,
    positions: Option<Vec<i64>>,
}

impl Accepted {
    fn outcomes(&self, count: usize) -> Vec<AcceptOutcome> {
        let outcome = |code: &i16| match code {
            0 => AcceptOutcome::Accepted,
            1 => AcceptOutcome::Exists,
            _ => AcceptOutcome::RouteChanged,
        };
        match &self.outcomes {
            Some(codes) => codes.iter().map(outcome).collect(),
            None => vec![AcceptOutcome::Accepted; count],
        }
    }

    /// Returns the positions of the facts that were appended, in the order of their items.
    fn positions(&self) -> impl Iterator<Item = LogPosition> {
        let transaction_id = self.transaction_id.unwrap_or_default();
        self.positions
            .iter()
            .flatten()
            .map(move |position| LogPosition { transaction_id, position: *position })
    }
}

/// Appends the facts and stores the payloads of `items`, which are sorted by id and have different ones.
#[tracing::instrument(name = "db.events.accept", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn accept(
    connection: &mut PgConnection,
    items: &[&AcceptItem],
    existing: Existing,
) -> Result<Accepted, sqlx::Error> {
    let (credentials, numbers) = distinct(items.iter().map(|item| item.credentials()));
    let may_exist = |item: &&AcceptItem| existing == Existing::All || item.idempotency_key.is_some();
    sqlx::query_file_as!(
        Accepted,
        "src/event_store/acceptance.sql",
        &items.iter().map(|item| item.id.to_string()).collect::<Vec<_>>(),
        &numbers,
        &items.iter().map(may_exist).collect::<Vec<_>>(),
        &items.iter().map(|item| &*item.fact).collect::<Vec<_>>() as &[&str],
        &items.iter().map(|item| &*item.metadata).collect::<Vec<_>>() as &[&str],
        &items.iter().map(|item| &*item.delivered).collect::<Vec<_>>() as &[&[u8]],
        &items.iter().map(|item| item.received.as_deref()).collect::<Vec<_>>() as &[Option<&[u8]>],
        &items.iter().map(|item| item.hops).collect::<Vec<_>>(),
        &items.iter().map(|item| item.salt.as_bytes()).collect::<Vec<_>>() as &[&[u8]],
        &items.iter().map(|item| item.idempotency_key.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &credentials.iter().map(|(tenant_id, ..)| tenant_id.0).collect::<Vec<_>>(),
        &credentials.iter().map(|(_, key_hash, ..)| *key_hash).collect::<Vec<_>>() as &[&str],
        &credentials.iter().map(|(_, _, token_hash, _)| *token_hash).collect::<Vec<_>>() as &[&str],
        &credentials.iter().map(|(.., route_version)| *route_version).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("EventAccepted"),
    )
    .fetch_one(connection)
    .await
}
