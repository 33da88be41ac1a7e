//! Claims of attempts: of all copies of a job one is granted, under the dispatcher that leads and with the
//! current settings.

use aggregates::destination::{AuthChange, Destination, DestinationCommand};
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::tenant::{Tenant, TenantCommand};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventFact};
use futures::future::join_all;
use hooksentry::clock;
use hooksentry::event_store::group_commit::GroupCommit;
use hooksentry::event_store::{
    AttemptClaim, AttemptClaimBatch, AttemptClaimItem, AttemptClaimOutcome, ClaimedEvent, ClaimedPayload,
    ClaimedPayloadBatch, LogNotifier,
};
use hooksentry::leadership::{Leadership, LeadershipStatus};
use uuid::Uuid;

use super::{Log, acceptance, metadata_of, new_event, webhook_secret};
use crate::harness::postgres::lose_facts;

const PAYLOAD: &[u8] = b"{ \"a\" : 1.50 }";

/// Job for the first attempt of an event.
pub(super) struct Job {
    tenant: TenantId,
    destination: DestinationId,
    event: WebhookEventId,
    epoch: u64,
}

impl Log {
    pub(super) async fn release_job(&self, epoch: u64) -> Job {
        self.release_jobs(epoch, 1).await.remove(0)
    }

    pub(super) async fn release_jobs(&self, epoch: u64, count: usize) -> Vec<Job> {
        let tenant = self.register_tenant().await;
        let destination = self.register_destination_with(tenant, &tenant.to_string()).await;
        let mut jobs = vec![];
        for _ in 0..count {
            let event = new_event();
            let accept = WebhookEventCommand::Accept(acceptance(tenant, destination));
            let metadata = metadata_of(tenant);
            self.store.execute::<WebhookEvent>(event.0, accept, &metadata).await.expect("an event");
            sqlx::query("INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, $3)")
                .bind(event.0)
                .bind(tenant.0)
                .bind(PAYLOAD)
                .execute(&self.pool)
                .await
                .expect("a payload");
            jobs.push(Job { tenant, destination, event, epoch });
        }
        self.project().await;
        jobs
    }

    pub(super) async fn lead(&self) -> Leadership {
        Leadership::acquire(&self.pool, "dispatcher", &LeadershipStatus::default()).await.expect("the lead")
    }

    fn claims(&self) -> GroupCommit<AttemptClaimBatch> {
        self.group_commit(batch())
    }
}

fn batch() -> AttemptClaimBatch {
    AttemptClaimBatch::new(LogNotifier::within_process())
}

impl Job {
    pub(super) fn claimed_event(&self) -> ClaimedEvent {
        ClaimedEvent { event_id: self.event, tenant_id: self.tenant }
    }

    pub(super) fn claim(&self) -> AttemptClaim {
        AttemptClaim {
            event_id: self.event,
            expected_version: 1,
            epoch: self.epoch,
            destination_id: self.destination,
            destination_version: 1,
            tenant_id: self.tenant,
            tenant_version: 1,
        }
    }
}

pub(super) fn item(claim: AttemptClaim, worker: &str) -> AttemptClaimItem {
    let fact = WebhookEventFact::DeliveryStarted {
        destination_id: claim.destination_id,
        attempt: 1,
        worker: worker.to_owned(),
        destination_version: claim.destination_version,
        tenant_version: claim.tenant_version,
        timeout_ms: 30_000,
        at: clock::now(),
    };
    AttemptClaimItem::new(claim, &fact, &metadata_of(claim.tenant_id)).expect("a fact")
}

#[tokio::test]
async fn of_many_copies_of_a_job_one_wins() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    let (here, there) = (log.claims(), log.claims());
    let held = log.hold().await;
    let copies = join_all((0..16).map(|number| {
        let claims = if number % 2 == 0 { &here } else { &there };
        claims.commit(item(job.claim(), "worker"))
    }));
    let (outcomes, ()) = tokio::join!(copies, async {
        log.until_waiting(2).await;
        held.rollback().await.expect("a rollback");
    });
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("an outcome")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AttemptClaimOutcome::Won).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AttemptClaimOutcome::Lost).count(), 15);
    assert_eq!(log.stream(job.event.0).await, ["EventAccepted", "DeliveryStarted"]);
    let late = here.commit(item(job.claim(), "worker")).await;
    assert_eq!(late.expect("an outcome"), AttemptClaimOutcome::Lost);
    log.discard().await;
}

/// In any order within a batch, the fact of the winner is the one that is appended.
#[tokio::test]
async fn among_different_copies_only_the_valid_one_wins() {
    for rotation in 0..4 {
        let log = Log::create().await;
        let lead = log.lead().await;
        let job = log.release_job(lead.epoch()).await;
        let valid = job.claim();
        let mut copies = vec![
            (AttemptClaimOutcome::Lost, AttemptClaim { epoch: lead.epoch() - 1, ..valid }),
            (AttemptClaimOutcome::Lost, AttemptClaim { expected_version: 0, ..valid }),
            (AttemptClaimOutcome::SettingsChanged, AttemptClaim { destination_version: 0, ..valid }),
            (AttemptClaimOutcome::Won, valid),
        ];
        copies.rotate_left(rotation);
        let claims = log.claims();
        let held = log.hold().await;
        let commits = join_all(copies.iter().map(|(expected, claim)| {
            let worker = if *expected == AttemptClaimOutcome::Won { "the valid one" } else { "another" };
            claims.commit(item(*claim, worker))
        }));
        let (outcomes, ()) = tokio::join!(commits, async {
            log.until_waiting(1).await;
            held.rollback().await.expect("a rollback");
        });
        for (outcome, (expected, claim)) in outcomes.into_iter().zip(copies) {
            assert_eq!(outcome.expect("an outcome"), expected, "{claim:?}, rotated by {rotation}");
        }
        let started = log.facts().await.pop().expect("a fact");
        assert!(started.payload.contains("the valid one"), "{}", started.payload);
        log.discard().await;
    }
}

/// The worker may have read settings from the log that the read models do not show.
#[tokio::test]
async fn of_copies_with_different_settings_that_are_all_valid_one_wins() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let jobs = log.release_jobs(lead.epoch(), 3).await;
    let newer = AttemptClaim { tenant_version: 2, ..jobs[1].claim() };
    let claims = log.claims();
    let held = log.hold().await;
    let commits = join_all(
        [jobs[0].claim(), jobs[1].claim(), newer, jobs[2].claim()]
            .map(|claim| claims.commit(item(claim, "worker"))),
    );
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(1).await;
        held.rollback().await.expect("a rollback");
    });
    let won: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("an outcome") == AttemptClaimOutcome::Won)
        .collect();
    assert!(won[0] && won[3] && won[1] != won[2], "{won:?}");
    for job in jobs {
        assert_eq!(log.stream(job.event.0).await, ["EventAccepted", "DeliveryStarted"]);
    }
    log.discard().await;
}

/// In opposite orders, which must not deadlock the two batches.
#[tokio::test]
async fn of_two_workers_that_claim_the_same_jobs_one_wins_each() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let jobs = log.release_jobs(lead.epoch(), 20).await;
    let (here, there) = (log.claims(), log.claims());
    let held = log.hold().await;
    let commits = join_all(
        jobs.iter()
            .map(|job| here.commit(item(job.claim(), "here")))
            .chain(jobs.iter().rev().map(|job| there.commit(item(job.claim(), "there")))),
    );
    let (outcomes, ()) = tokio::join!(commits, async {
        log.until_waiting(2).await;
        held.rollback().await.expect("a rollback");
    });
    let count = |expected: AttemptClaimOutcome| {
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(outcome) if *outcome == expected)).count()
    };
    assert_eq!((count(AttemptClaimOutcome::Won), count(AttemptClaimOutcome::Lost)), (20, 20), "{outcomes:?}");
    for (here, there) in outcomes[..20].iter().zip(outcomes[20..].iter().rev()) {
        assert_ne!(here.as_ref().expect("an outcome"), there.as_ref().expect("an outcome"));
    }
    log.discard().await;
}

#[tokio::test]
async fn claims_are_appended_in_the_order_of_their_events() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let mut jobs = log.release_jobs(lead.epoch(), 6).await;
    jobs.sort_unstable_by_key(|job| job.event);
    let items: Vec<_> = jobs.iter().rev().map(|job| item(job.claim(), "worker")).collect();
    let events: Vec<_> = jobs.iter().map(|job| job.event).collect();
    let outcomes = log.commit_in_order(&batch(), &items, &events, 2).await;
    assert_eq!(outcomes, [AttemptClaimOutcome::Won; 6]);
    log.discard().await;
}

#[tokio::test]
async fn a_claim_that_another_append_forestalls_is_lost_alone() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let jobs = log.release_jobs(lead.epoch(), 3).await;
    let rival = log.append_meanwhile(jobs[1].event, 2, "Cancelled").await;
    let items: Vec<_> = jobs.iter().map(|job| item(job.claim(), "worker")).collect();
    let batch = batch();
    let (outcomes, ()) = tokio::join!(log.commit_batch(&batch, &items), async {
        log.until_waiting(1).await;
        rival.commit().await.expect("a commit");
    });
    let (won, lost) = (AttemptClaimOutcome::Won, AttemptClaimOutcome::Lost);
    assert_eq!(outcomes, [won, lost, won]);
    assert_eq!(log.stream(jobs[1].event.0).await, ["EventAccepted", "Cancelled"]);
    log.discard().await;
}

#[tokio::test]
async fn each_claim_of_a_batch_is_judged_by_its_own_settings() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let valid = log.release_jobs(lead.epoch(), 6).await;
    let also_valid = log.release_job(lead.epoch()).await;
    let suspended = log.release_job(lead.epoch()).await;
    let switched_off = log.release_job(lead.epoch()).await;
    let changed = log.release_job(lead.epoch()).await;
    let at = clock::now();
    let change = |url: Option<&str>, active| DestinationCommand::Change {
        url: url.map(str::to_owned),
        concurrency_limit: None,
        active,
        auth: AuthChange::Keep,
        at,
    };
    let elsewhere = change(Some("https://elsewhere.example.com"), None);
    let metadata = metadata_of(changed.tenant);
    log.store.execute::<Destination>(changed.destination.0, elsewhere, &metadata).await.expect("another URL");
    log.project().await;
    // The read models do not show what follows.
    let (off, metadata) = (change(None, Some(false)), metadata_of(switched_off.tenant));
    log.store.execute::<Destination>(switched_off.destination.0, off, &metadata).await.expect("a change");
    let suspend = TenantCommand::Suspend { reason: "spam".to_owned(), at };
    let metadata = metadata_of(suspended.tenant);
    log.store.execute::<Tenant>(suspended.tenant.0, suspend, &metadata).await.expect("a suspension");

    let (won, lost) = (AttemptClaimOutcome::Won, AttemptClaimOutcome::Lost);
    let claims = [
        (suspended.claim(), lost),
        (valid[0].claim(), won),
        (AttemptClaim { epoch: lead.epoch() + 1, ..valid[1].claim() }, lost),
        (AttemptClaim { epoch: lead.epoch() - 1, ..valid[2].claim() }, lost),
        (also_valid.claim(), won),
        (switched_off.claim(), lost),
        (changed.claim(), AttemptClaimOutcome::SettingsChanged),
        (AttemptClaim { tenant_id: also_valid.tenant, ..valid[3].claim() }, lost),
        (AttemptClaim { destination_id: also_valid.destination, ..valid[4].claim() }, lost),
        (valid[5].claim(), won),
        (valid[0].claim(), lost),
    ];
    let items: Vec<_> = claims.iter().map(|(claim, _)| item(*claim, "worker")).collect();
    let outcomes = log.commit_batch(&batch(), &items).await;
    assert_eq!(outcomes, claims.iter().map(|(_, outcome)| *outcome).collect::<Vec<_>>());
    let started = log.facts().await.into_iter().filter(|fact| fact.event_type == "DeliveryStarted");
    let winners = [&valid[0], &also_valid, &valid[5]];
    let mut started: Vec<_> = started.map(|fact| fact.stream).collect();
    started.sort_unstable();
    let mut expected = winners.map(|job| job.event.to_string());
    expected.sort_unstable();
    assert_eq!(started, expected);
    log.discard().await;
}

#[tokio::test]
async fn a_job_of_a_dispatcher_that_no_longer_leads_is_void() {
    let log = Log::create().await;
    let old_lead = log.lead().await;
    let job = log.release_job(old_lead.epoch()).await;
    drop(old_lead);
    let new_lead = log.lead().await;
    assert!(new_lead.epoch() > job.epoch);
    let claims = log.claims();
    let old = claims.commit(item(job.claim(), "worker")).await;
    assert_eq!(old.expect("an outcome"), AttemptClaimOutcome::Lost);
    assert_eq!(log.stream(job.event.0).await, ["EventAccepted"]);
    let new = claims.commit(item(AttemptClaim { epoch: new_lead.epoch(), ..job.claim() }, "worker")).await;
    assert_eq!(new.expect("an outcome"), AttemptClaimOutcome::Won);
    log.discard().await;
}

/// So a new leader finds all attempts of the previous epoch in the log before it releases anything.
#[tokio::test]
async fn a_new_leader_waits_for_pending_claims_of_the_previous_epoch() {
    let log = Log::create().await;
    let old_lead = log.lead().await;
    let job = log.release_job(old_lead.epoch()).await;
    let claims = log.claims();
    drop(old_lead);
    // Another transaction has inserted the version, and the claim waits for its end.
    let mut rival = log.pool.begin().await.expect("a transaction");
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('WebhookEvent', $1, 2, 'Cancelled', '1.0', '{}', '{}')",
    )
    .bind(job.event.to_string())
    .execute(&mut *rival)
    .await
    .expect("an append");
    let lead = async {
        log.until_waiting(1).await;
        let lead = log.lead().await;
        (lead, log.stream(job.event.0).await)
    };
    let release = async {
        log.until_waiting(2).await;
        rival.rollback().await.expect("a rollback");
    };
    let (outcome, (lead, seen), ()) = tokio::join!(claims.commit(item(job.claim(), "worker")), lead, release);
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
    assert!(lead.epoch() > job.epoch);
    assert_eq!(seen, ["EventAccepted", "DeliveryStarted"], "what the new leader sees from the start");
    log.discard().await;
}

/// Its job outlived the commit that accepted it.
#[tokio::test]
async fn an_event_that_was_lost_cannot_be_claimed() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    lose_facts(&log.pool, &format!("aggregate_id = '{}'", job.event)).await;
    let outcome = log.claims().commit(item(job.claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Lost);
    assert!(log.stream(job.event.0).await.is_empty());
    log.discard().await;
}

/// Anyone who can write to the queue could otherwise have the payload of another tenant sent to an address of his own.
#[tokio::test]
async fn a_claim_names_the_tenant_and_the_destination_of_its_event() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    let (tenant_id, destination_id) = (TenantId(Uuid::from_u128(1)), DestinationId(Uuid::from_u128(2)));
    let claims = log.claims();
    for forged in [
        AttemptClaim { tenant_id, destination_id, ..job.claim() },
        AttemptClaim { tenant_id, ..job.claim() },
        AttemptClaim { destination_id, ..job.claim() },
    ] {
        let outcome = claims.commit(item(forged, "worker")).await;
        assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Lost, "{forged:?}");
    }
    assert_eq!(log.stream(job.event.0).await, ["EventAccepted"]);
    let outcome = claims.commit(item(job.claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
    log.discard().await;
}

/// A later attempt does not follow EventAccepted.
#[tokio::test]
async fn a_later_claim_names_the_tenant_and_the_destination_of_its_event() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let (job, other) = (log.release_job(lead.epoch()).await, log.release_job(lead.epoch()).await);
    for (sequence, name) in [(2, "DeliveryStarted"), (3, "DeliveryAttempted")] {
        let append = log.append_meanwhile(job.event, sequence, name).await;
        append.commit().await.expect("a commit");
    }
    let claim = AttemptClaim { expected_version: 3, ..job.claim() };
    let (tenant_id, destination_id) = (other.tenant, other.destination);
    let items = [
        AttemptClaim { tenant_id, destination_id, ..claim },
        AttemptClaim { tenant_id, ..claim },
        AttemptClaim { destination_id, ..claim },
        AttemptClaim { expected_version: 2, ..claim },
        AttemptClaim { expected_version: 4, ..claim },
        claim,
    ]
    .map(|claim| item(claim, "worker"));
    let outcomes = log.commit_batch(&batch(), &items).await;
    assert_eq!(outcomes[..5], [AttemptClaimOutcome::Lost; 5]);
    assert_eq!(outcomes[5], AttemptClaimOutcome::Won);
    log.discard().await;
}

#[tokio::test]
async fn an_attempt_with_outdated_settings_does_not_start() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    let (claims, metadata, at) = (log.claims(), metadata_of(job.tenant), clock::now());
    let elsewhere = DestinationCommand::Change {
        url: Some("https://elsewhere.example.com".to_owned()),
        concurrency_limit: None,
        active: None,
        auth: AuthChange::Keep,
        at,
    };
    log.store.execute::<Destination>(job.destination.0, elsewhere, &metadata).await.expect("another URL");
    let secret = TenantCommand::RegenerateWebhookSecret {
        webhook_secret: webhook_secret("second"),
        previous_signs_until: None,
        at,
    };
    log.store.execute::<Tenant>(job.tenant.0, secret, &metadata).await.expect("another secret");
    log.project().await;
    for (destination_version, tenant_version, outcome) in [
        (1, 1, AttemptClaimOutcome::SettingsChanged),
        (2, 1, AttemptClaimOutcome::SettingsChanged),
        (1, 2, AttemptClaimOutcome::SettingsChanged),
        (2, 2, AttemptClaimOutcome::Won),
    ] {
        let claim = AttemptClaim { destination_version, tenant_version, ..job.claim() };
        assert_eq!(claims.commit(item(claim, "worker")).await.expect("an outcome"), outcome);
    }
    log.discard().await;
}

/// Row locks of two claims at the same time would create a multixact.
#[tokio::test]
async fn claims_do_not_lock_the_row_of_the_leader() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    let locker = async || -> String {
        sqlx::query_scalar("SELECT xmax::text FROM leaderships WHERE role = 'dispatcher'")
            .fetch_one(&log.pool)
            .await
            .expect("the row")
    };
    let before = locker().await;
    let outcome = log.claims().commit(item(job.claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
    assert_eq!(locker().await, before);
    log.discard().await;
}

/// The worker has read its settings from the log.
#[tokio::test]
async fn an_attempt_does_not_wait_for_read_models() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let job = log.release_job(lead.epoch()).await;
    sqlx::query("DELETE FROM destinations").execute(&log.pool).await.expect("no destination");
    sqlx::query("UPDATE tenants SET version = 0").execute(&log.pool).await.expect("an older tenant");
    let outcome = log.claims().commit(item(job.claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
    log.discard().await;
}

/// Although the read model does not show the change.
#[tokio::test]
async fn a_job_is_void_when_its_destination_has_entered_another_stage_or_got_another_limit() {
    for (concurrency_limit, active) in [(None, Some(false)), (Some(1), None)] {
        let log = Log::create().await;
        let lead = log.lead().await;
        let job = log.release_job(lead.epoch()).await;
        let change = DestinationCommand::Change {
            url: None,
            concurrency_limit,
            active,
            auth: AuthChange::Keep,
            at: clock::now(),
        };
        let metadata = metadata_of(job.tenant);
        log.store.execute::<Destination>(job.destination.0, change, &metadata).await.expect("a change");
        let claims = log.claims();
        let outcome = claims.commit(item(job.claim(), "worker")).await;
        assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Lost);
        // The next job, whose worker knows the change.
        let outcome =
            claims.commit(item(AttemptClaim { destination_version: 2, ..job.claim() }, "worker")).await;
        assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
        log.discard().await;
    }
}

/// Although the read model does not show it.
#[tokio::test]
async fn a_job_is_void_while_its_tenant_is_suspended() {
    let log = Log::create().await;
    let lead = log.lead().await;
    let jobs = log.release_jobs(lead.epoch(), 2).await;
    let (tenant, metadata, at) = (jobs[0].tenant, metadata_of(jobs[0].tenant), clock::now());
    let claims = log.claims();
    let suspend = TenantCommand::Suspend { reason: "spam".to_owned(), at };
    log.store.execute::<Tenant>(tenant.0, suspend, &metadata).await.expect("a suspension");
    let outcome = claims.commit(item(jobs[0].claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Lost);
    log.store
        .execute::<Tenant>(tenant.0, TenantCommand::Resume { at }, &metadata)
        .await
        .expect("a resumption");
    let outcome = claims.commit(item(jobs[0].claim(), "worker")).await;
    assert_eq!(outcome.expect("an outcome"), AttemptClaimOutcome::Won);
    // The worker knows the suspension and what followed.
    let claim = AttemptClaim { tenant_version: 3, ..jobs[1].claim() };
    assert_eq!(claims.commit(item(claim, "worker")).await.expect("an outcome"), AttemptClaimOutcome::Won);
    log.discard().await;
}

#[tokio::test]
async fn payloads_are_read_for_their_events_and_tenants() {
    let log = Log::create().await;
    let mut jobs = log.release_jobs(1, 3).await;
    let foreign = Job { tenant: TenantId(Uuid::from_u128(7)), ..jobs[0] };
    sqlx::query("DELETE FROM payloads WHERE event_id = $1")
        .bind(jobs[1].event.0)
        .execute(&log.pool)
        .await
        .expect("an erased payload");
    sqlx::query("UPDATE payloads SET hops = 3 WHERE event_id = $1")
        .bind(jobs[2].event.0)
        .execute(&log.pool)
        .await
        .expect("hops");
    jobs.push(foreign);
    let payloads = log.group_commit(ClaimedPayloadBatch);
    let read = join_all(jobs.iter().map(|job| payloads.commit(job.claimed_event()))).await;
    let read: Vec<_> = read.into_iter().map(|payload| payload.expect("a read")).collect();
    let payload = |hops| Some(ClaimedPayload { bytes: PAYLOAD.to_vec().into(), hops });
    assert_eq!(read, [payload(0), None, payload(3), None]);
    log.discard().await;
}
