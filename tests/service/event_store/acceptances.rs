//! Acceptances: credentials are checked, duplicates by idempotency key detected, and payloads stored with
//! their facts.

use std::time::Duration;

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::destination::{AuthChange, Destination, DestinationCommand};
use aggregates::ids::{ApiKeyId, DestinationId, TenantId, WebhookEventId};
use aggregates::tenant::{Tenant, TenantCommand};
use bytes::Bytes;
use futures::future::join_all;
use hooksentry::config::TenantWeights;
use hooksentry::event_store::group_commit::{CommitFailure, GroupCommit};
use hooksentry::event_store::{
    AcceptBatch, AcceptItem, AcceptOutcome, AcceptQueue, Acceptances, AcceptedPayload, AcceptedSize,
    IngestCredentials, LogNotifier, Metadata, QueueLimits, SmallTraffic,
};
use hooksentry::secrets::salt::Salt;
use hooksentry::{clock, identifiers};
use projections::LogPosition;
use uuid::Uuid;

use super::{Log, acceptance, invalid_metadata, metadata_of, new_event, token};

const KEY: &str = "key";

/// A destination that accepts events, with credentials for it.
pub(super) struct Target {
    pub(super) tenant: TenantId,
    pub(super) destination: DestinationId,
    key: ApiKeyId,
    credentials: IngestCredentials,
}

impl Log {
    pub(super) async fn create_target(&self) -> Target {
        self.create_target_with(KEY, "destination").await
    }

    /// Creates a target whose key and ingest token have these names.
    pub(super) async fn create_target_with(&self, key_name: &str, token_name: &str) -> Target {
        let tenant = self.register_tenant().await;
        let destination = self.register_destination_with(tenant, token_name).await;
        let key = self.issue_key(tenant, key_name).await;
        self.project().await;
        let credentials = IngestCredentials {
            key_hash: token(key_name),
            token_hash: token(token_name),
            route_version: self.route_version(destination).await,
        };
        Target { tenant, destination, key, credentials }
    }

    async fn route_version(&self, destination: DestinationId) -> i64 {
        sqlx::query_scalar("SELECT version FROM ingest_routes WHERE destination_id = $1")
            .bind(destination.0)
            .fetch_one(&self.pool)
            .await
            .expect("a route")
    }

    async fn position_of(&self, id: WebhookEventId) -> LogPosition {
        let (transaction_id, position) =
            sqlx::query_as("SELECT transaction_id, position FROM events WHERE aggregate_id = $1")
                .bind(id.to_string())
                .fetch_one(&self.pool)
                .await
                .expect("a fact");
        LogPosition { transaction_id, position }
    }

    /// Returns the last position that was drawn. A statement that fails draws positions as well.
    async fn last_position(&self) -> i64 {
        sqlx::query_scalar("SELECT last_value FROM events_position_seq")
            .fetch_one(&self.pool)
            .await
            .expect("the sequence")
    }

    fn acceptances(&self) -> GroupCommit<AcceptBatch> {
        self.group_commit(batch())
    }

    /// What is delivered and what was received, of every stored payload.
    async fn payloads(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        sqlx::query_as("SELECT delivered, received FROM payloads")
            .fetch_all(&self.pool)
            .await
            .expect("payloads")
    }
}

impl Target {
    /// Returns the target as it is looked up now.
    pub(super) async fn looked_up_again(self, log: &Log) -> Self {
        let route_version = log.route_version(self.destination).await;
        Self { credentials: IngestCredentials { route_version, ..self.credentials }, ..self }
    }

    /// Returns an event that was sent with an API key that does not exist.
    pub(super) fn item_of_no_key(&self, id: WebhookEventId, payload: &'static str) -> AcceptItem {
        let credentials = IngestCredentials { key_hash: token("no key"), ..self.credentials.clone() };
        self.item_with(id, payload, credentials, &metadata_of(self.tenant))
    }

    pub(super) fn item(&self, id: WebhookEventId, payload: &'static str) -> AcceptItem {
        self.item_with(id, payload, self.credentials.clone(), &metadata_of(self.tenant))
    }

    fn item_with(
        &self,
        id: WebhookEventId,
        payload: &'static str,
        credentials: IngestCredentials,
        metadata: &Metadata,
    ) -> AcceptItem {
        let acceptance = acceptance(self.tenant, self.destination);
        let payload = without_key(payload);
        AcceptItem::new(id, credentials, acceptance, metadata, payload).expect("a fact")
    }

    /// Returns an event whose id follows from an idempotency key.
    fn keyed_item(&self, id: WebhookEventId) -> AcceptItem {
        let payload = AcceptedPayload { idempotency_key: Some("order-7".to_owned()), ..without_key("{}") };
        let acceptance = acceptance(self.tenant, self.destination);
        AcceptItem::new(id, self.credentials.clone(), acceptance, &metadata_of(self.tenant), payload)
            .expect("a fact")
    }
}

fn without_key(payload: &'static str) -> AcceptedPayload {
    let delivered = Bytes::from_static(payload.as_bytes());
    AcceptedPayload { delivered, received: None, salt: Salt::random(), idempotency_key: None }
}

pub(super) fn batch() -> AcceptBatch {
    AcceptBatch::new(AcceptedSize::Small(SmallTraffic::default()), LogNotifier::within_process())
}

#[tokio::test]
async fn an_accepted_event_is_on_disk_with_its_payload() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let (id, payload) = (new_event(), "{ \"a\" : 1.50 }");
    let outcome = log.acceptances().commit(target.item(id, payload)).await;
    assert_eq!(outcome.expect("a commit"), AcceptOutcome::Accepted);
    assert_eq!(log.stream(id.0).await, ["EventAccepted"]);
    assert_eq!(log.payloads().await, [(payload.as_bytes().to_vec(), None)]);
    log.discard().await;
}

#[tokio::test]
async fn the_received_payload_is_stored_with_the_mapped_one() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let payload = AcceptedPayload {
        delivered: Bytes::from_static(b"{\"mapped\":1}"),
        received: Some(Bytes::from_static(b"{\"raw\":1}")),
        salt: Salt::random(),
        idempotency_key: None,
    };
    let item = AcceptItem::new(
        new_event(),
        target.credentials.clone(),
        acceptance(target.tenant, target.destination),
        &metadata_of(target.tenant),
        payload,
    );
    log.acceptances().commit(item.expect("a fact")).await.expect("a commit");
    assert_eq!(log.payloads().await, [(b"{\"mapped\":1}".to_vec(), Some(b"{\"raw\":1}".to_vec()))]);
    log.discard().await;
}

#[tokio::test]
async fn nothing_of_a_suspended_tenant_is_accepted() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let (acceptances, metadata, at) = (log.acceptances(), metadata_of(target.tenant), clock::now());
    let suspend = TenantCommand::Suspend { reason: "spam".to_owned(), at };
    log.store.execute::<Tenant>(target.tenant.0, suspend, &metadata).await.expect("a suspension");
    let outcome = acceptances.commit(target.item(new_event(), "{}")).await;
    assert_eq!(outcome.expect("a commit"), AcceptOutcome::RouteChanged, "the read model does not show it");
    log.project().await;
    let outcome = acceptances.commit(target.item(new_event(), "{}")).await;
    assert_eq!(outcome.expect("a commit"), AcceptOutcome::RouteChanged);
    assert!(log.payloads().await.is_empty());
    let resume = TenantCommand::Resume { at };
    log.store.execute::<Tenant>(target.tenant.0, resume, &metadata).await.expect("a resumption");
    log.project().await;
    let outcome = acceptances.commit(target.item(new_event(), "{}")).await;
    assert_eq!(outcome.expect("a commit"), AcceptOutcome::Accepted);
    log.discard().await;
}

#[tokio::test]
async fn of_several_events_with_one_idempotency_key_one_is_accepted_and_the_others_exist() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let acceptances = log.acceptances();
    let id = new_event();
    let held = log.hold().await;
    let commits = join_all((0..64).map(|_| acceptances.commit(target.item(id, "{}"))));
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("an outcome")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AcceptOutcome::Accepted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AcceptOutcome::Exists).count(), 63);
    assert_eq!(log.stream(id.0).await, ["EventAccepted"]);
    assert_eq!(log.payloads().await.len(), 1);
    // The same after the batch.
    let later = acceptances.commit(target.item(id, "{\"other\":true}")).await;
    assert_eq!(later.expect("an outcome"), AcceptOutcome::Exists);
    assert_eq!(log.payloads().await, [(b"{}".to_vec(), None)]);
    log.discard().await;
}

#[tokio::test]
async fn events_with_one_idempotency_key_are_detected_across_processes() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let (here, there) = (log.acceptances(), log.acceptances());
    // In opposite orders, which must not deadlock the two batches.
    let ids: Vec<_> = (0..20).map(|_| new_event()).collect();
    let held = log.hold().await;
    let commits = join_all(
        ids.iter()
            .map(|id| here.commit(target.item(*id, "{}")))
            .chain(ids.iter().rev().map(|id| there.commit(target.item(*id, "{}")))),
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

/// As the first commit of a batch whose answer was lost.
#[tokio::test]
async fn events_of_a_batch_that_exist_already_are_reported_and_the_others_accepted() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let ids: Vec<_> = (0..4).map(|_| new_event()).collect();
    let items = |ids: &[WebhookEventId]| ids.iter().map(|id| target.item(*id, "{}")).collect::<Vec<_>>();
    let (accepted, exists) = (AcceptOutcome::Accepted, AcceptOutcome::Exists);
    assert_eq!(log.commit_batch(&batch(), &items(&[ids[2], ids[1]])).await, [accepted; 2]);
    assert_eq!(log.commit_batch(&batch(), &items(&ids)).await, [accepted, exists, exists, accepted]);
    assert_eq!(log.commit_batch(&batch(), &items(&ids)).await, [exists; 4]);
    assert_eq!(log.payloads().await.len(), 4);
    for id in ids {
        assert_eq!(log.stream(id.0).await, ["EventAccepted"]);
    }
    log.discard().await;
}

#[tokio::test]
async fn an_event_that_another_process_accepts_meanwhile_exists_if_that_commits() {
    for (is_committed, expected) in [(true, AcceptOutcome::Exists), (false, AcceptOutcome::Accepted)] {
        let log = Log::create().await;
        let target = log.create_target().await;
        let (first, shared, last) = (new_event(), new_event(), new_event());
        let rival = log.append_meanwhile(shared, 1, "EventAccepted").await;
        let items = [target.item(first, "{}"), target.keyed_item(shared), target.item(last, "{}")];
        let batch = batch();
        let (outcomes, ()) = tokio::join!(log.commit_batch(&batch, &items), async {
            log.until_waiting(1).await;
            if is_committed { rival.commit().await } else { rival.rollback().await }.expect("an end");
        });
        assert_eq!(outcomes, [AcceptOutcome::Accepted, expected, AcceptOutcome::Accepted]);
        assert_eq!(log.payloads().await.len(), if is_committed { 2 } else { 3 });
        log.discard().await;
    }
}

#[tokio::test]
async fn events_are_appended_in_the_order_of_their_ids() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let mut ids: Vec<_> = (0..6).map(|_| new_event()).collect();
    ids.sort_unstable();
    let items: Vec<_> = ids.iter().rev().map(|id| target.item(*id, "{}")).collect();
    let outcomes = log.commit_in_order(&batch(), &items, &ids, 1).await;
    assert_eq!(outcomes, [AcceptOutcome::Accepted; 6]);
    log.discard().await;
}

/// Repetitions are frequent, and a statement that fails is executed twice.
#[tokio::test]
async fn an_event_with_an_idempotency_key_is_looked_up_before_it_is_appended() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let (known, new) = (new_event(), new_event());
    log.commit_batch(&batch(), &[target.keyed_item(known)]).await;
    let before = log.last_position().await;
    let outcomes = log.commit_batch(&batch(), &[target.keyed_item(known), target.item(new, "{}")]).await;
    assert_eq!(outcomes, [AcceptOutcome::Exists, AcceptOutcome::Accepted]);
    assert_eq!(log.last_position().await, before + 1, "one fact was inserted");
    log.discard().await;
}

/// Although the read models show neither the revocation nor the suspension.
#[tokio::test]
async fn each_event_of_a_batch_is_judged_by_its_own_credentials() {
    let log = Log::create().await;
    let valid = log.create_target().await;
    let revoked = log.create_target_with("second key", "second").await;
    let suspended = log.create_target_with("third key", "third").await;
    let also_valid = log.create_target_with("fourth key", "fourth").await;
    let at = clock::now();
    let revoke = ApiKeyCommand::Revoke { at };
    log.store.execute::<ApiKey>(revoked.key.0, revoke, &metadata_of(revoked.tenant)).await.expect("revoked");
    let suspend = TenantCommand::Suspend { reason: "spam".to_owned(), at };
    let metadata = metadata_of(suspended.tenant);
    log.store.execute::<Tenant>(suspended.tenant.0, suspend, &metadata).await.expect("suspended");
    let mixed = |credentials: IngestCredentials| {
        valid.item_with(new_event(), "{}", credentials, &metadata_of(valid.tenant))
    };
    let own = &valid.credentials;
    let mut accepted: Vec<_> = (0..4).map(|_| new_event()).collect();
    accepted.sort_unstable();
    let items = [
        revoked.item(new_event(), "{}"),
        valid.item(accepted[2], "2"),
        suspended.item(new_event(), "{}"),
        also_valid.item(accepted[0], "0"),
        mixed(IngestCredentials { key_hash: also_valid.credentials.key_hash.clone(), ..own.clone() }),
        valid.item(accepted[3], "3"),
        mixed(IngestCredentials { token_hash: also_valid.credentials.token_hash.clone(), ..own.clone() }),
        also_valid.item(accepted[1], "1"),
        mixed(IngestCredentials { route_version: own.route_version + 1, ..own.clone() }),
    ];
    let batch = batch().handing_over(&log.store);
    let mut handed_over = log.store.accepted_events().receive();
    let outcomes = log.commit_batch(&batch, &items).await;
    let expected = (0..items.len())
        .map(|index| if index % 2 == 1 { AcceptOutcome::Accepted } else { AcceptOutcome::RouteChanged });
    assert_eq!(outcomes, expected.collect::<Vec<_>>());
    let handed_over = handed_over.recv().await.expect("accepted events");
    assert_eq!(handed_over.iter().map(|event| event.event_id).collect::<Vec<_>>(), accepted);
    for (event, payload) in handed_over.iter().zip(0..) {
        assert_eq!(event.position, log.position_of(event.event_id).await);
        let stored: (Uuid, Vec<u8>) =
            sqlx::query_as("SELECT tenant_id, delivered FROM payloads WHERE event_id = $1")
                .bind(event.event_id.0)
                .fetch_one(&log.pool)
                .await
                .expect("a payload");
        assert_eq!(stored, (event.tenant_id.0, payload.to_string().into_bytes()));
    }
    assert_eq!(log.payloads().await.len(), accepted.len());
    log.discard().await;
}

#[tokio::test]
async fn nothing_is_accepted_with_credentials_that_are_not_valid() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let accept = log.acceptances();
    let other_tenant = log.register_tenant().await;
    log.issue_key(other_tenant, "other key").await;
    log.project().await;

    let item = |credentials: IngestCredentials| {
        target.item_with(new_event(), "{}", credentials, &metadata_of(target.tenant))
    };
    let valid = &target.credentials;
    for (case, credentials) in [
        ("an unknown key", IngestCredentials { key_hash: token("none"), ..valid.clone() }),
        ("another tenant's key", IngestCredentials { key_hash: token("other key"), ..valid.clone() }),
        ("an unknown token", IngestCredentials { token_hash: token("none"), ..valid.clone() }),
        ("an older route", IngestCredentials { route_version: valid.route_version - 1, ..valid.clone() }),
    ] {
        assert_eq!(
            accept.commit(item(credentials)).await.expect("an outcome"),
            AcceptOutcome::RouteChanged,
            "{case}"
        );
    }
    assert!(log.payloads().await.is_empty());
    assert_eq!(accept.commit(item(valid.clone())).await.expect("an outcome"), AcceptOutcome::Accepted);
    log.discard().await;
}

#[tokio::test]
async fn nothing_is_accepted_with_a_revoked_key_or_for_a_disabled_destination() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let (accept, metadata, at) = (log.acceptances(), metadata_of(target.tenant), clock::now());
    let disable = DestinationCommand::Change {
        url: None,
        concurrency_limit: None,
        active: Some(false),
        auth: AuthChange::Keep,
        at,
    };
    log.store.execute::<Destination>(target.destination.0, disable, &metadata).await.expect("disabled");
    log.project().await;
    let newest = IngestCredentials {
        route_version: log.route_version(target.destination).await,
        ..target.credentials.clone()
    };
    for credentials in [target.credentials.clone(), newest] {
        let outcome = accept.commit(target.item_with(new_event(), "{}", credentials, &metadata)).await;
        assert_eq!(outcome.expect("an outcome"), AcceptOutcome::RouteChanged);
    }
    log.discard().await;

    let log = Log::create().await;
    let target = log.create_target().await;
    let accept = log.acceptances();
    let metadata = metadata_of(target.tenant);
    log.store
        .execute::<ApiKey>(target.key.0, ApiKeyCommand::Revoke { at }, &metadata)
        .await
        .expect("revoked");
    // The read model does not show the revocation yet.
    let outcome = accept.commit(target.item(new_event(), "{}")).await;
    assert_eq!(outcome.expect("an outcome"), AcceptOutcome::RouteChanged);
    log.discard().await;
}

#[tokio::test]
async fn an_event_that_the_database_rejects_fails_alone() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let acceptances = log.acceptances();
    let ids: Vec<_> = (0..8).map(|_| identifiers::new_event_id()).collect();
    let held = log.hold().await;
    let commits = join_all(ids.iter().enumerate().map(|(number, id)| {
        let metadata = if number == 3 { invalid_metadata(target.tenant) } else { metadata_of(target.tenant) };
        acceptances.commit(target.item_with(*id, "{}", target.credentials.clone(), &metadata))
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

#[tokio::test]
async fn a_small_webhook_does_not_wait_for_a_large_one() {
    let log = Log::create().await;
    let target = log.create_target().await;
    let limits = QueueLimits { delay: Duration::from_millis(50), waiting_max: 512 };
    let queue = AcceptQueue::new(limits, TenantWeights::default());
    let acceptances = Acceptances { small: log.acceptances(), large: log.acceptances(), queue };
    let large_payload: &'static str = format!(r#"{{"a":"{}"}}"#, "x".repeat(64 << 10)).leak();
    let (large_id, small_id) = (new_event(), new_event());
    // Who stores this payload as well waits for the end of the transaction.
    let mut held = log.pool.begin().await.expect("a transaction");
    sqlx::query("INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, '')")
        .bind(large_id.0)
        .bind(target.tenant.0)
        .execute(&mut *held)
        .await
        .expect("a payload");
    let (large, ()) = tokio::join!(acceptances.commit(target.item(large_id, large_payload)), async {
        log.until_waiting(1).await;
        let small = acceptances.commit(target.item(small_id, "{}")).await;
        assert_eq!(small.expect("a commit"), AcceptOutcome::Accepted);
        held.rollback().await.expect("a rollback");
    });
    assert_eq!(large.expect("a commit"), AcceptOutcome::Accepted);
    log.discard().await;
}

#[tokio::test]
async fn a_payload_is_compressed_with_lz4_where_the_server_has_it() {
    let log = Log::create().await;
    let (target, acceptances) = (log.create_target().await, log.acceptances());
    let payload: &'static str = format!(r#"{{"a":"{}"}}"#, "x".repeat(10 << 10)).leak();
    let accepted = acceptances.commit(target.item(new_event(), payload)).await;
    assert_eq!(accepted.expect("a commit"), AcceptOutcome::Accepted);
    let (used, best): (String, String) = sqlx::query_as(
        "SELECT
            pg_column_compression(delivered),
            CASE WHEN 'lz4' = ANY (enumvals) THEN 'lz4' ELSE 'pglz' END
         FROM payloads, pg_settings
         WHERE name = 'default_toast_compression'",
    )
    .fetch_one(&log.pool)
    .await
    .expect("a payload");
    assert_eq!(used, best);
    log.discard().await;
}
