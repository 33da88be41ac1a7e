//! The append of ingest: `EventAccepted` with its payload, on condition that the credentials are still valid.
//!
//! The caller has looked up the route and the API key, perhaps in a cache. The statement that appends checks
//! them again: it accepts nothing with a key that was revoked, or a token that was replaced, before it began, and
//! nothing of a tenant that is suspended.
//! If the first attempt may begin at once, the statement appends its `DeliveryStarted` as well ([`super::first_attempts`]).
//! Of several events with the same id (which follows from the idempotency key) one is accepted. Other ids are new. If one
//! is not, because the answer to a commit was lost, or because another process accepts the same key at the same time, the
//! batch is rejected and committed again by a statement that looks for existing events first.

use std::time::{Duration, Instant};

use aggregates::ids::TenantId;
use bytes::Bytes;
use projections::LogPosition;
use sqlx::PgConnection;

use super::EventStore;
use super::accept_item::AcceptItem;
use super::accept_pace::{self, SmallTraffic};
use super::accept_statement::{Existing, accept};
use super::accepted_events::AcceptedEvents;
use super::first_attempts::{FirstAttempt, FirstAttempts};
use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::recent_payloads::RecentPayloads;
use crate::database;

/// Webhooks that one commit accepts. Each kind of append has one commit at a time, so this is what accepting may take while
/// attempts are to be claimed and recorded, in batches of hundreds. Higher: when more is offered than can be delivered,
/// accepting it takes the processors that deliver, and a backlog grows. Lower: bursts are accepted more slowly.
pub(super) const ACCEPTED_AT_ONCE: usize = 64;

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
    first_attempts: FirstAttempts,
}

/// An event that was appended.
struct Appended<'a> {
    item: &'a AcceptItem,
    position: LogPosition,
    /// The attempt that was started with it.
    first_attempt: Option<FirstAttempt>,
}

impl AcceptBatch {
    #[must_use]
    pub fn new(size: AcceptedSize, notifier: LogNotifier) -> Self {
        Self {
            size,
            notifier,
            accepted: AcceptedEvents::default(),
            recent_payloads: RecentPayloads::default(),
            first_attempts: FirstAttempts::default(),
        }
    }

    /// Hands what is accepted to the dispatcher that uses `store`, and its payload or its first attempt to the worker.
    #[must_use]
    pub fn handing_over(self, store: &EventStore) -> Self {
        Self {
            accepted: store.accepted_events().clone(),
            recent_payloads: store.recent_payloads().clone(),
            first_attempts: store.first_attempts().clone(),
            ..self
        }
    }

    /// Prepares the first attempts of those `items` for which one may start now.
    fn prepare(&self, items: &[&AcceptItem]) -> Vec<Option<FirstAttempt>> {
        let prepare = |item: &&AcceptItem| match &self.size {
            AcceptedSize::Small(_) => self.first_attempts.prepare(item.new_event()),
            AcceptedSize::Large(_) => None,
        };
        items.iter().map(prepare).collect()
    }

    /// Starts first attempts, hands over the other events, and notifies the readers of the log.
    fn announce(&self, appended: Vec<Appended<'_>>) {
        if appended.is_empty() {
            return;
        }
        let mut others = Vec::new();
        for Appended { item, position, first_attempt } in appended {
            match first_attempt {
                Some(first_attempt) => (first_attempt.start)(item.claimed_payload()),
                None => others.push((item, position)),
            }
        }
        let events = others.iter().map(|(item, position)| item.accepted_at(*position));
        if others.is_empty() || self.accepted.hand_over(events.collect()) {
            for (item, _) in others {
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
        // When this is cancelled, or the answer is lost, they are dropped, and no request is sent.
        let first_attempts = self.prepare(&distinct);
        let claims: Vec<_> =
            first_attempts.iter().map(|attempt| attempt.as_ref().map(|attempt| &attempt.claim)).collect();
        let accepted = match accept(connection, &distinct, &claims, Existing::OfIdempotencyKeys).await {
            Err(error) if database::is_unique_violation(&error) => {
                accept(connection, &distinct, &claims, Existing::All).await?
            }
            accepted => accepted?,
        };
        let outcomes = accepted.outcomes(&claims);
        let attempts = distinct.iter().zip(first_attempts).zip(&outcomes);
        let appended = attempts.filter(|(_, (outcome, _))| *outcome == AcceptOutcome::Accepted);
        let appended = appended.zip(accepted.positions());
        let appended = appended.map(|(((item, attempt), (_, is_started)), position)| Appended {
            item,
            position,
            first_attempt: attempt.filter(|_| *is_started),
        });
        self.announce(appended.collect());
        let outcome_of = |(index, item): (usize, &AcceptItem)| {
            // Always found: each id was sent.
            let number = sent.partition_point(|(_, sent)| sent.id < item.id);
            match outcomes[number].0 {
                AcceptOutcome::Accepted if sent[number].0 != index => AcceptOutcome::Exists,
                // If the item that was sent had invalid credentials, this one may have others: its caller looks the
                // route up and tries again.
                outcome => outcome,
            }
        };
        Ok(items.iter().enumerate().map(outcome_of).collect())
    }
}
