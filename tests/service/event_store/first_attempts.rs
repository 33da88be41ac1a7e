//! First attempts that are claimed by the statement that accepts their webhooks.

use std::sync::{Arc, Mutex};

use aggregates::destination::{AuthChange, Destination, DestinationCommand};
use aggregates::ids::WebhookEventId;
use aggregates::tenant::{Tenant, TenantCommand};
use hooksentry::clock;
use hooksentry::event_store::{
    AcceptBatch, AcceptOutcome, AttemptClaim, EventStore, FirstAttempt, NewEvent, PermitLeases,
    PreparesAttempts,
};

use super::acceptances::{Target, batch};
use super::attempt_claims::item;
use super::{Log, metadata_of, new_event};

/// Prepares attempts as a worker does, with what it believes, and notes which are started.
#[derive(Clone)]
struct Preparer {
    epoch: u64,
    destination_version: u64,
    tenant_version: u64,
    /// Events that get no attempt.
    without: Option<WebhookEventId>,
    started: Arc<Mutex<Vec<Started>>>,
}

/// An event whose attempt was started, and the payload.
type Started = (WebhookEventId, Vec<u8>);

impl Preparer {
    fn in_epoch(epoch: u64) -> Self {
        Self { epoch, destination_version: 1, tenant_version: 1, without: None, started: Arc::default() }
    }

    fn started(&self) -> Vec<Started> {
        std::mem::take(&mut self.started.lock().expect("a lock"))
    }
}

impl PreparesAttempts for Preparer {
    fn prepare(&self, event: NewEvent, _: &PermitLeases) -> Option<FirstAttempt> {
        let NewEvent { event_id, tenant_id, destination_id } = event;
        if self.without == Some(event_id) {
            return None;
        }
        let claim = AttemptClaim {
            event_id,
            expected_version: 1,
            epoch: self.epoch,
            destination_id,
            destination_version: self.destination_version,
            tenant_id,
            tenant_version: self.tenant_version,
        };
        let started = Arc::clone(&self.started);
        Some(FirstAttempt {
            claim: item(claim, "worker"),
            start: Box::new(move |payload| {
                started.lock().expect("a lock").push((event_id, payload.bytes.to_vec()));
            }),
        })
    }
}

impl Log {
    fn batch_with(&self, preparer: &Preparer) -> AcceptBatch {
        let store = EventStore::new(self.pool.clone(), self.store.notifier().clone());
        store.first_attempts().made_by(Arc::new(preparer.clone()));
        batch().handing_over(&store)
    }

    /// Accepts an event. Returns its facts, and whether its attempt was started.
    async fn accept_with(&self, preparer: &Preparer, target: &Target) -> (Vec<String>, bool) {
        let event = new_event();
        let outcomes = self.commit_batch(&self.batch_with(preparer), &[target.item(event, "{}")]).await;
        assert_eq!(outcomes, [AcceptOutcome::Accepted]);
        (self.stream(event.0).await, !preparer.started().is_empty())
    }
}

#[tokio::test]
async fn an_attempt_is_started_with_its_webhook_in_one_transaction() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let lead = log.lead().await;
    let preparer = Preparer::in_epoch(lead.epoch());
    let event = new_event();
    let outcomes = log.commit_batch(&log.batch_with(&preparer), &[target.item(event, "{\"a\":1}")]).await;
    assert_eq!(outcomes, [AcceptOutcome::Accepted]);
    let facts = log.facts().await;
    let of_event: Vec<_> = facts.iter().filter(|fact| fact.stream == event.to_string()).collect();
    let names: Vec<_> = of_event.iter().map(|fact| (&*fact.event_type, fact.sequence)).collect();
    assert_eq!(names, [("EventAccepted", 1), ("DeliveryStarted", 2)], "in the order of the log");
    assert_eq!(of_event[0].transaction, of_event[1].transaction);
    assert_eq!(preparer.started(), [(event, b"{\"a\":1}".to_vec())]);
    log.discard().await;
}

#[tokio::test]
async fn if_the_claim_is_not_valid_the_webhook_is_accepted_and_nothing_is_started() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let lead = log.lead().await;
    let valid = Preparer::in_epoch(lead.epoch());
    let accepted = (vec!["EventAccepted".to_owned()], false);

    let former = Preparer::in_epoch(lead.epoch() - 1);
    assert_eq!(log.accept_with(&former, &target).await, accepted, "another dispatcher leads");

    let (metadata, at) = (metadata_of(target.tenant), clock::now());
    let rename = TenantCommand::Rename { name: "Other".to_owned(), at };
    log.store.execute::<Tenant>(target.tenant.0, rename, &metadata).await.expect("another name");
    log.project().await;
    assert_eq!(log.accept_with(&valid, &target).await, accepted, "newer settings of the tenant are known");
    let valid = Preparer { tenant_version: 2, ..valid };
    assert!(log.accept_with(&valid, &target).await.1);

    let (concurrency_limit, auth) = (Some(3), AuthChange::Keep);
    let change = DestinationCommand::Change { url: None, concurrency_limit, active: None, auth, at };
    log.store.execute::<Destination>(target.destination.0, change, &metadata).await.expect("another limit");
    assert_eq!(log.accept_with(&valid, &target).await, accepted, "the log has another limit");
    log.project().await;
    let target = target.looked_up_again(&log).await;
    assert_eq!(log.accept_with(&valid, &target).await, accepted, "newer settings are known");
    let valid = Preparer { destination_version: 2, ..valid };
    assert!(log.accept_with(&valid, &target).await.1);
    log.discard().await;
}

#[tokio::test]
async fn of_a_batch_only_what_is_accepted_and_has_a_valid_claim_is_started() {
    let log = Log::create().await;
    let (target, other) = (log.create_target().await, log.create_target_with("other key", "other").await);
    let lead = log.lead().await;
    let mut events: Vec<_> = (0..5).map(|_| new_event()).collect();
    events.sort_unstable();
    let without = Some(events[3]);
    let preparer = Preparer { without, ..Preparer::in_epoch(lead.epoch()) };
    let batch = log.batch_with(&preparer);
    let exists = target.item(events[0], "0");
    assert_eq!(log.commit_batch(&batch, std::slice::from_ref(&exists)).await, [AcceptOutcome::Accepted]);
    preparer.started();

    // The settings of the other destination are newer than the worker knows.
    let (metadata, auth, at) = (metadata_of(other.tenant), AuthChange::Keep, clock::now());
    let change = DestinationCommand::Change { url: None, concurrency_limit: Some(3), active: None, auth, at };
    log.store.execute::<Destination>(other.destination.0, change, &metadata).await.expect("another limit");
    let items = [
        target.item(events[4], "4"),
        exists,
        target.item_of_no_key(events[1], "1"),
        other.item(events[2], "2"),
        target.item(events[3], "3"),
    ];
    use AcceptOutcome::{Accepted, Exists, RouteChanged};
    assert_eq!(log.commit_batch(&batch, &items).await, [Accepted, Exists, RouteChanged, Accepted, Accepted]);
    assert_eq!(preparer.started(), [(events[4], b"4".to_vec())]);
    let mut facts = vec![];
    for event in &events {
        facts.push(log.stream(event.0).await.len());
    }
    assert_eq!(facts, [2, 0, 1, 1, 2]);
    log.discard().await;
}
