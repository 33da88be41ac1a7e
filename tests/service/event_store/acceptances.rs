//! Acceptances: the database judges the door, twins meet, and the payload is stored with the fact.

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::destination::{AuthChange, Destination, DestinationCommand};
use aggregates::ids::{ApiKeyId, DestinationId, TenantId, WebhookEventId};
use bytes::Bytes;
use futures::future::join_all;
use hooksentry::event_store::group_commit::{CommitFailure, GroupCommit};
use hooksentry::event_store::{
    AcceptBatch, AcceptItem, AcceptOutcome, IngestCredentials, LogNotifier, Metadata,
};
use hooksentry::fair_share::Weights;
use hooksentry::{clock, identifiers};

use super::{Log, acceptance, metadata_of, new_event, poisonous_metadata, token};

const KEY: &str = "key";

/// A destination that receives, and the way to it.
struct Entrance {
    tenant: TenantId,
    destination: DestinationId,
    key: ApiKeyId,
    door: IngestCredentials,
}

impl Log {
    async fn open_entrance(&self) -> Entrance {
        let tenant = self.register_tenant().await;
        let destination = self.register_destination(tenant).await;
        let key = self.issue_key(tenant, KEY).await;
        self.project().await;
        let door = IngestCredentials {
            key_hash: token(KEY),
            token_hash: token("destination"),
            route_version: self.route_version(destination).await,
        };
        Entrance { tenant, destination, key, door }
    }

    async fn route_version(&self, destination: DestinationId) -> i64 {
        sqlx::query_scalar("SELECT version FROM ingest_routes WHERE destination_id = $1")
            .bind(destination.0)
            .fetch_one(&self.pool)
            .await
            .expect("a route")
    }

    fn acceptances(&self) -> GroupCommit<AcceptBatch> {
        let batch = AcceptBatch::new(self.pool.clone(), LogNotifier::within_process());
        GroupCommit::start(batch, 1, Weights::default(), &self.tasks)
    }

    /// What is delivered and what was received, of every stored payload.
    async fn payloads(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        sqlx::query_as("SELECT delivered, received FROM payloads")
            .fetch_all(&self.pool)
            .await
            .expect("payloads")
    }
}

impl Entrance {
    fn item(&self, id: WebhookEventId, payload: &'static str) -> AcceptItem {
        self.item_through(id, payload, self.door.clone(), &metadata_of(self.tenant))
    }

    fn item_through(
        &self,
        id: WebhookEventId,
        payload: &'static str,
        door: IngestCredentials,
        metadata: &Metadata,
    ) -> AcceptItem {
        let acceptance = acceptance(self.tenant, self.destination);
        AcceptItem::new(id, door, acceptance, metadata, Bytes::from_static(payload.as_bytes()), None)
            .expect("a fact")
    }
}

#[tokio::test]
async fn an_accepted_event_is_on_disk_with_its_payload() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let (id, payload) = (new_event(), "{ \"a\" : 1.50 }");
    let outcome = log.acceptances().commit(entrance.item(id, payload)).await;
    assert_eq!(outcome.expect("a commit"), AcceptOutcome::Accepted);
    assert_eq!(log.stream(id.0).await, ["EventAccepted"]);
    assert_eq!(log.payloads().await, [(payload.as_bytes().to_vec(), None)]);
    log.discard().await;
}

#[tokio::test]
async fn what_was_received_is_kept_beside_what_is_delivered() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let received = Some(Bytes::from_static(b"{\"raw\":1}"));
    let item = AcceptItem::new(
        new_event(),
        entrance.door.clone(),
        acceptance(entrance.tenant, entrance.destination),
        &metadata_of(entrance.tenant),
        Bytes::from_static(b"{\"mapped\":1}"),
        received,
    );
    log.acceptances().commit(item.expect("a fact")).await.expect("a commit");
    assert_eq!(log.payloads().await, [(b"{\"mapped\":1}".to_vec(), Some(b"{\"raw\":1}".to_vec()))]);
    log.discard().await;
}

#[tokio::test]
async fn of_twins_by_idempotency_key_one_is_accepted_and_the_others_find_that_it_exists() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let door = log.acceptances();
    let twin = WebhookEventId::for_idempotency_key(entrance.tenant, "order-7");
    let held = log.hold().await;
    let commits = join_all((0..64).map(|_| door.commit(entrance.item(twin, "{}"))));
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("an outcome")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AcceptOutcome::Accepted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AcceptOutcome::Exists).count(), 63);
    assert_eq!(log.stream(twin.0).await, ["EventAccepted"]);
    assert_eq!(log.payloads().await.len(), 1);
    // Much later, too.
    let later = door.commit(entrance.item(twin, "{\"other\":true}")).await;
    assert_eq!(later.expect("an outcome"), AcceptOutcome::Exists);
    assert_eq!(log.payloads().await, [(b"{}".to_vec(), None)]);
    log.discard().await;
}

#[tokio::test]
async fn twins_that_meet_in_different_processes_are_twins_all_the_same() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let (here, there) = (log.acceptances(), log.acceptances());
    // In opposite orders, which must not make the two batches wait for one another.
    let twins: Vec<_> = (0..20)
        .map(|number| WebhookEventId::for_idempotency_key(entrance.tenant, &number.to_string()))
        .collect();
    let held = log.hold().await;
    let commits = join_all(
        twins
            .iter()
            .map(|twin| here.commit(entrance.item(*twin, "{}")))
            .chain(twins.iter().rev().map(|twin| there.commit(entrance.item(*twin, "{}")))),
    );
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(2).await;
        held.rollback().await.expect("a rollback");
    });
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(AcceptOutcome::Accepted))).count();
    let exist = outcomes.iter().filter(|outcome| matches!(outcome, Ok(AcceptOutcome::Exists))).count();
    assert_eq!((accepted, exist), (20, 20), "{outcomes:?}");
    log.discard().await;
}

#[tokio::test]
async fn nothing_comes_in_through_a_door_that_is_not_what_the_caller_saw() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let accept = log.acceptances();
    let other_tenant = log.register_tenant().await;
    log.issue_key(other_tenant, "other key").await;
    log.project().await;

    let sees = |door: IngestCredentials| {
        entrance.item_through(new_event(), "{}", door, &metadata_of(entrance.tenant))
    };
    let real = &entrance.door;
    for (why, door) in [
        ("an unknown key", IngestCredentials { key_hash: token("none"), ..real.clone() }),
        ("another tenant's key", IngestCredentials { key_hash: token("other key"), ..real.clone() }),
        ("an unknown token", IngestCredentials { token_hash: token("none"), ..real.clone() }),
        ("an older route", IngestCredentials { route_version: real.route_version - 1, ..real.clone() }),
    ] {
        assert_eq!(
            accept.commit(sees(door)).await.expect("an outcome"),
            AcceptOutcome::RouteChanged,
            "{why}"
        );
    }
    assert!(log.payloads().await.is_empty());
    assert_eq!(accept.commit(sees(real.clone())).await.expect("an outcome"), AcceptOutcome::Accepted);
    log.discard().await;
}

#[tokio::test]
async fn a_revoked_key_and_a_destination_that_is_switched_off_let_nothing_in() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let (accept, metadata, at) = (log.acceptances(), metadata_of(entrance.tenant), clock::now());
    let switch_off = DestinationCommand::Change {
        url: None,
        concurrency_limit: None,
        active: Some(false),
        auth: AuthChange::Keep,
        at,
    };
    log.store.execute::<Destination>(entrance.destination.0, switch_off, &metadata).await.expect("off");
    log.project().await;
    let newest = IngestCredentials {
        route_version: log.route_version(entrance.destination).await,
        ..entrance.door.clone()
    };
    for door in [entrance.door.clone(), newest] {
        let outcome = accept.commit(entrance.item_through(new_event(), "{}", door, &metadata)).await;
        assert_eq!(outcome.expect("an outcome"), AcceptOutcome::RouteChanged);
    }
    log.discard().await;

    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let accept = log.acceptances();
    let metadata = metadata_of(entrance.tenant);
    log.store
        .execute::<ApiKey>(entrance.key.0, ApiKeyCommand::Revoke { at }, &metadata)
        .await
        .expect("revoked");
    log.project().await;
    let outcome = accept.commit(entrance.item(new_event(), "{}")).await;
    assert_eq!(outcome.expect("an outcome"), AcceptOutcome::RouteChanged);
    log.discard().await;
}

#[tokio::test]
async fn an_event_that_the_database_does_not_take_fails_alone() {
    let log = Log::create().await;
    let entrance = log.open_entrance().await;
    let door = log.acceptances();
    let ids: Vec<_> = (0..8).map(|_| identifiers::new_event_id()).collect();
    let held = log.hold().await;
    let commits = join_all(ids.iter().enumerate().map(|(number, id)| {
        let metadata =
            if number == 3 { poisonous_metadata(entrance.tenant) } else { metadata_of(entrance.tenant) };
        door.commit(entrance.item_through(*id, "{}", entrance.door.clone(), &metadata))
    }));
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match (number, outcome) {
            (3, outcome) => assert!(matches!(outcome, Err(CommitFailure::Database(_))), "{outcome:?}"),
            (_, outcome) => assert_eq!(outcome.expect("a commit"), AcceptOutcome::Accepted),
        }
    }
    assert_eq!(log.payloads().await.len(), 7);
    log.discard().await;
}
