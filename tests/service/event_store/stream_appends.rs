//! Concurrent appends of outcomes: each is stored completely or not at all, with its own result.

use std::collections::BTreeSet;

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventFact as Fact};
use aggregates_testing::attempted;
use futures::future::join_all;
use hooksentry::clock;
use hooksentry::event_store::group_commit::{CommitFailure, GroupCommit};
use hooksentry::event_store::{
    LogNotifier, Metadata, StoredResponse, StreamAppend, StreamAppendBatch, StreamAppendItem,
    StreamAppendResult,
};
use hooksentry::secrets::salt::Salt;
use uuid::Uuid;

use super::{Log, StoredFact, invalid_metadata, metadata_of, new_event};
use crate::harness::postgres::lose_facts;

const WRITERS: usize = 64;
/// Version of the stream before: the event was accepted and an attempt was started.
const BEFORE: u64 = 2;
/// Name of the facts up to that version.
const EARLIER: &str = "Earlier";

impl Log {
    /// Returns an event whose stream has the version [`BEFORE`].
    async fn started_event(&self) -> WebhookEventId {
        let event = new_event();
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT 'WebhookEvent', $1, sequence, $2, '1.0', '{}', '{}' FROM generate_series(1, 2) AS sequence",
        )
        .bind(event.to_string())
        .bind(EARLIER)
        .execute(&self.pool)
        .await
        .expect("an append");
        event
    }

    async fn started_events(&self, count: usize) -> Vec<WebhookEventId> {
        join_all((0..count).map(|_| self.started_event())).await
    }

    /// Returns the facts that were appended later.
    async fn outcome_facts(&self) -> Vec<StoredFact> {
        self.facts().await.into_iter().filter(|fact| fact.event_type != EARLIER).collect()
    }

    fn outcomes(&self) -> GroupCommit<StreamAppendBatch> {
        self.group_commit(batch())
    }
}

fn batch() -> StreamAppendBatch {
    StreamAppendBatch::new(LogNotifier::within_process())
}

/// An append of two facts, marked with a reporter.
fn failed(event: WebhookEventId, reporter: &str, metadata: &Metadata) -> StreamAppendItem {
    failed_at(event, BEFORE, reporter, metadata)
}

fn failed_at(event: WebhookEventId, version: u64, reporter: &str, metadata: &Metadata) -> StreamAppendItem {
    let (destination_id, at) = (DestinationId::default(), clock::now());
    let report = AttemptReport::without_answer(Outcome::Timeout, 1, Some(reporter.to_owned()));
    let facts = [
        attempted().failed_attempts(1).report(report).at(at).fact(),
        Fact::RetryScheduled { destination_id, failed_attempts: 1, retry_at: at, at },
    ];
    StreamAppendItem::new(event, version, &facts, metadata).expect("facts")
}

fn tenant() -> Metadata {
    metadata_of(TenantId::default())
}

#[tokio::test]
async fn many_writers_share_a_few_commits() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let events = log.started_events(WRITERS).await;
    let held = log.hold().await;
    let commits = join_all(events.iter().map(|event| appends.commit(failed(*event, "worker", &tenant()))));
    let (results, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    for result in results {
        assert_eq!(result.expect("a commit"), StreamAppendResult::Recorded);
    }
    for event in events {
        assert_eq!(log.stream(event.0).await, [EARLIER, EARLIER, "DeliveryAttempted", "RetryScheduled"]);
    }
    let transactions: BTreeSet<_> =
        log.outcome_facts().await.into_iter().map(|fact| fact.transaction).collect();
    assert!(transactions.len() <= 2, "{} commits", transactions.len());
    log.discard().await;
}

#[tokio::test]
async fn of_two_writers_of_a_stream_one_is_stored_completely_and_the_other_not_at_all() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let events = log.started_events(WRITERS / 2).await;
    let held = log.hold().await;
    let commits = join_all(events.iter().flat_map(|event| {
        ["one", "other"].map(|reporter| appends.commit(failed(*event, reporter, &tenant())))
    }));
    let (results, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    let results: Vec<_> = results.into_iter().map(|result| result.expect("an outcome")).collect();
    let facts = log.outcome_facts().await;
    assert_eq!(facts.len(), WRITERS);
    for (event, results) in events.iter().zip(results.chunks(2)) {
        let winner = match results {
            [StreamAppendResult::Recorded, StreamAppendResult::Conflict] => "one",
            [StreamAppendResult::Conflict, StreamAppendResult::Recorded] => "other",
            unexpected => panic!("{unexpected:?}"),
        };
        let own: Vec<_> = facts.iter().filter(|fact| fact.stream == event.to_string()).collect();
        assert_eq!(own.iter().map(|fact| fact.sequence).collect::<Vec<_>>(), [3, 4]);
        assert!(own[0].payload.contains(&format!("{winner:?}")), "{winner}: {}", own[0].payload);
    }
    log.discard().await;
}

/// In opposite orders, which must not deadlock the two batches.
#[tokio::test]
async fn of_two_processes_that_append_to_the_same_streams_one_is_stored_each() {
    let log = Log::create().await;
    let (here, there) = (log.outcomes(), log.outcomes());
    let events = log.started_events(WRITERS / 2).await;
    let held = log.hold().await;
    let commits = join_all(
        events
            .iter()
            .map(|event| here.commit(failed(*event, "here", &tenant())))
            .chain(events.iter().rev().map(|event| there.commit(failed(*event, "there", &tenant())))),
    );
    let (results, ()) = tokio::join!(commits, async {
        log.until_waiting(2).await;
        held.rollback().await.expect("a rollback");
    });
    let results: Vec<_> = results.into_iter().map(|result| result.expect("an outcome")).collect();
    for (here, there) in results[..events.len()].iter().zip(results[events.len()..].iter().rev()) {
        assert_ne!(here, there);
    }
    assert_eq!(log.outcome_facts().await.len(), WRITERS);
    log.discard().await;
}

#[tokio::test]
async fn facts_are_appended_in_the_order_of_their_streams() {
    let log = Log::create().await;
    let mut events = log.started_events(6).await;
    events.sort_unstable();
    let items: Vec<_> = events.iter().rev().map(|event| failed(*event, "worker", &tenant())).collect();
    let results = log.commit_in_order(&batch(), &items, &events, 3).await;
    assert_eq!(results, [StreamAppendResult::Recorded; 6]);
    log.discard().await;
}

#[tokio::test]
async fn an_append_that_another_one_forestalls_is_not_stored_and_the_others_are() {
    let log = Log::create().await;
    let mut events = log.started_events(3).await;
    events.push(new_event());
    let rival = log.append_meanwhile(events[1], 3, "Cancelled").await;
    let items: Vec<_> = events.iter().map(|event| failed(*event, "worker", &tenant())).collect();
    let batch = batch();
    let (results, ()) = tokio::join!(log.commit_batch(&batch, &items), async {
        log.until_waiting(1).await;
        rival.commit().await.expect("a commit");
    });
    let (recorded, conflict) = (StreamAppendResult::Recorded, StreamAppendResult::Conflict);
    assert_eq!(results, [recorded, conflict, recorded, conflict]);
    assert_eq!(log.stream(events[0].0).await, [EARLIER, EARLIER, "DeliveryAttempted", "RetryScheduled"]);
    assert_eq!(log.stream(events[1].0).await, [EARLIER, EARLIER, "Cancelled"]);
    assert_eq!(log.stream(events[3].0).await, [""; 0]);
    log.discard().await;
}

#[tokio::test]
async fn only_responses_of_recorded_outcomes_are_stored() {
    let log = Log::create().await;
    let events = [log.started_event().await, new_event(), log.started_event().await];
    let items = events.map(|event_id| {
        let response = StoredResponse {
            event_id,
            attempt: 1,
            tenant_id: TenantId::default(),
            json: "{}".to_owned(),
            salt: Salt::random(),
        };
        failed(event_id, "worker", &tenant()).with_response(Some(response))
    });
    log.commit_batch(&batch(), &items).await;
    let stored: BTreeSet<Uuid> = sqlx::query_scalar("SELECT event_id FROM attempt_responses")
        .fetch_all(&log.pool)
        .await
        .expect("responses")
        .into_iter()
        .collect();
    assert_eq!(stored, BTreeSet::from([events[0].0, events[2].0]));
    log.discard().await;
}

#[tokio::test]
async fn an_append_without_facts_is_not_recorded() {
    let log = Log::create().await;
    let (event, other) = (log.started_event().await, log.started_event().await);
    let without_facts = StreamAppendItem::new(event, BEFORE, &[], &tenant()).expect("no facts");
    let (recorded, conflict) = (StreamAppendResult::Recorded, StreamAppendResult::Conflict);
    let items = [without_facts, failed(event, "worker", &tenant()), failed(other, "worker", &tenant())];
    assert_eq!(log.commit_batch(&batch(), &items[..1]).await, [conflict]);
    assert_eq!(log.commit_batch(&batch(), &items).await, [conflict, recorded, recorded]);
    log.discard().await;
}

#[tokio::test]
async fn an_outcome_that_is_too_late_is_not_stored() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let event = log.started_event().await;
    appends.commit(failed(event, "dispatcher", &tenant())).await.expect("a commit");
    let before = log.outcome_facts().await;
    let late = appends.commit(failed(event, "worker", &tenant())).await.expect("an outcome");
    assert_eq!(late, StreamAppendResult::Conflict);
    assert_eq!(log.outcome_facts().await, before);
    log.discard().await;
}

/// The second append begins at the version of the first one's second fact.
#[tokio::test]
async fn overlapping_appends_in_one_batch_are_not_stored_partly() {
    for swapped in [false, true] {
        let log = Log::create().await;
        let appends = log.outcomes();
        let event = log.started_event().await;
        let mut items = [failed_at(event, 2, "first", &tenant()), failed_at(event, 3, "second", &tenant())];
        if swapped {
            items.reverse();
        }
        let held = log.hold().await;
        let commits = join_all(items.map(|item| appends.commit(item)));
        let (results, ()) = tokio::join!(commits, async {
            log.until_waiting(1).await;
            held.rollback().await.expect("a rollback");
        });
        let recorded =
            results.iter().filter(|result| matches!(result, Ok(StreamAppendResult::Recorded))).count();
        assert_eq!(log.outcome_facts().await.len(), recorded * 2, "{results:?}");
        log.discard().await;
    }
}

/// After a failover that lost the last commits, a worker records the outcome of an attempt that never started.
#[tokio::test]
async fn an_outcome_without_its_predecessor_is_not_stored() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let (unstarted, unknown) = (log.started_event().await, new_event());
    lose_facts(&log.pool, &format!("aggregate_id = '{unstarted}' AND sequence = 2")).await;
    for event in [unstarted, unknown] {
        let outcome = appends.commit(failed(event, "worker", &tenant())).await.expect("an outcome");
        assert_eq!(outcome, StreamAppendResult::Conflict);
    }
    assert!(log.outcome_facts().await.is_empty());
    log.discard().await;
}

#[tokio::test]
async fn an_item_that_the_database_rejects_fails_alone() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let events = log.started_events(10).await;
    let held = log.hold().await;
    let commits = join_all(events.iter().enumerate().map(|(number, event)| {
        let metadata = if number == 4 { invalid_metadata(TenantId::default()) } else { tenant() };
        appends.commit(failed(*event, "worker", &metadata))
    }));
    let (results, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    for (number, result) in results.into_iter().enumerate() {
        match (number, result) {
            (4, result) => assert!(matches!(result, Err(CommitFailure::Database(_))), "{result:?}"),
            (_, result) => assert_eq!(result.expect("a commit"), StreamAppendResult::Recorded),
        }
    }
    assert_eq!(log.outcome_facts().await.len(), 18);
    log.discard().await;
}

/// The response of a receiver may contain any character.
#[tokio::test]
async fn a_report_may_contain_any_character() {
    let log = Log::create().await;
    let appends = log.outcomes();
    let event = log.started_event().await;
    let detail = "\0 \u{1f980} \" \\ \u{7f} \u{2028}";
    assert_eq!(
        appends.commit(failed(event, detail, &tenant())).await.expect("a commit"),
        StreamAppendResult::Recorded
    );
    let stored = log.outcome_facts().await.remove(0).payload;
    let fact: Fact = serde_json::from_str(&stored).expect("the fact");
    assert!(
        matches!(fact, Fact::DeliveryAttempted { report, .. } if report.detail.as_deref() == Some(detail))
    );
    log.discard().await;
}

/// A leader that was stopped may decide something long after another process has taken the lead.
#[tokio::test]
async fn a_former_leader_appends_nothing() {
    let log = Log::create().await;
    let old_lead = log.lead().await;
    let append = |event: WebhookEventId| {
        let fact = attempted().outcome(Outcome::Unknown).fact();
        StreamAppend::new::<WebhookEvent>(event.0, BEFORE, &[fact], &tenant()).expect("a fact")
    };
    let (first, second) = (log.started_event().await, log.started_event().await);
    let results = log.store.append_in_epoch(old_lead.epoch(), &[append(first), append(first)]).await;
    let recorded = [StreamAppendResult::Recorded, StreamAppendResult::Conflict];
    assert_eq!(results.expect("an append"), recorded, "one of two at the same version");
    let epoch = old_lead.epoch();
    drop(old_lead);
    let new_lead = log.lead().await;
    let results = log.store.append_in_epoch(epoch, &[append(second)]).await;
    assert_eq!(results.expect("an append"), [StreamAppendResult::Conflict]);
    let results = log.store.append_in_epoch(new_lead.epoch(), &[append(second)]).await;
    assert_eq!(results.expect("an append"), [StreamAppendResult::Recorded]);
    log.discard().await;
}
