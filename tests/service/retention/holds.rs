//! Legal holds keep what retention would remove, until they are lifted.

use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::legal_hold::{HeldSubject, LegalHoldCommand};
use aggregates::sealed::TokenHash;
use aggregates::tenant::{Tenant, TenantCommand};
use aggregates::webhook_event::WebhookEventCommand;
use aggregates_testing::accepted;
use chrono::TimeDelta;
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use projections::retention::{self, Floor};
use uuid::Uuid;

use super::{ACME, DESTINATION, days, tenant_with};
use crate::harness::log_fixture::Fixture;

const HELD: DestinationId = DestinationId(Uuid::from_u128(0x4e1d));

impl Fixture {
    async fn register_destination(&self, id: DestinationId) {
        let register = DestinationCommand::Register {
            tenant_id: ACME,
            url: "https://receiver.example.com/hooks".to_owned(),
            concurrency_limit: 5,
            auth: None,
            ingest_token_hash: TokenHash(id.to_string()),
            at: clock::now(),
        };
        let metadata = Metadata::of_role(ACME, "test");
        self.store.execute::<Destination>(id.0, register, &metadata).await.expect("a destination");
    }

    async fn hold(&self, subject: HeldSubject, id: Uuid, command: fn(HeldSubject) -> LegalHoldCommand) {
        let metadata = Metadata::of_role(ACME, "test");
        self.store.execute_legal_hold(ACME, id, command(subject), &metadata).await.expect("it is done");
    }

    /// Accepts an event to [`HELD`] so many days ago.
    async fn accept_held(&self, days_ago: i64) -> WebhookEventId {
        let number = self.next_number();
        let id = WebhookEventId(Uuid::from_u128(u128::from(number)));
        let later = TimeDelta::milliseconds(i64::try_from(number).expect("a small number"));
        let at = clock::now() - TimeDelta::days(days_ago) + later;
        let accept = accepted().tenant(ACME).destination(HELD).at(at);
        self.command(ACME, id, accept.command()).await;
        sqlx::query("INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, '{}')")
            .bind(id.0)
            .bind(ACME.0)
            .execute(&self.pool)
            .await
            .expect("a payload");
        id
    }

    async fn floor(&self) -> Floor {
        let mut connection = self.pool.acquire().await.expect("a connection");
        retention::floor(&mut connection, ACME).await.expect("a floor")
    }

    /// Exceptions that are examined with every pass.
    async fn examined(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM retention_exceptions WHERE held_by IS NULL ORDER BY event_id").await
    }
}

fn place(subject: HeldSubject) -> LegalHoldCommand {
    LegalHoldCommand::Place { subject, reason: "a test".to_owned(), at: clock::now() }
}

fn lift(_: HeldSubject) -> LegalHoldCommand {
    LegalHoldCommand::Lift { reason: "a test".to_owned(), at: clock::now() }
}

#[tokio::test]
async fn nothing_of_a_held_tenant_is_removed_until_the_hold_is_lifted() {
    let fixture = tenant_with(days(7, 30)).await;
    let old = fixture.cancelled(40).await;
    fixture.hold(HeldSubject::Tenant, ACME.0, place).await;
    let mut term = fixture.lead().await;
    assert_eq!(fixture.pass(&mut term).await, []);
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![old], vec![old]));
    assert_eq!(fixture.floor().await, Floor::default());

    fixture.hold(HeldSubject::Tenant, ACME.0, lift).await;
    fixture.pass(&mut term).await;
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![], vec![]));
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn events_of_a_held_destination_are_examined_once_and_again_when_the_hold_is_lifted() {
    let fixture = tenant_with(days(30, 60)).await;
    for destination in [DESTINATION, HELD] {
        fixture.register_destination(destination).await;
    }
    // It has not ended when the floor passes it, and the hold comes later.
    let waiting = fixture.accept_held(40).await;
    let mut term = fixture.lead().await;
    fixture.pass(&mut term).await;
    assert_eq!(fixture.examined().await, [waiting]);

    fixture.hold(HeldSubject::Destination, HELD.0, place).await;
    let held = fixture.accept_held(25).await;
    let free = fixture.cancelled(24).await;
    let young = fixture.cancelled(3).await;
    for id in [waiting, held] {
        let cancel = WebhookEventCommand::Cancel { reason: "a test".to_owned(), at: clock::now() };
        fixture.command(ACME, id, cancel).await;
    }
    let shorter = TenantCommand::ChangeRetention { retention: days(7, 20), at: clock::now() };
    let metadata = Metadata::of_role(ACME, "test");
    fixture.store.execute::<Tenant>(ACME.0, shorter, &metadata).await.expect("another retention");
    let steps = fixture.pass(&mut term).await;
    assert_eq!(steps.iter().map(|step| (step.payloads, step.events)).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
    assert!(!fixture.events_shown().await.contains(&free));
    for _ in 0..2 {
        assert_eq!(fixture.payloads().await, [waiting, held, young]);
        assert_eq!(fixture.events_shown().await, [waiting, held, young]);
        assert_eq!(fixture.exceptions().await, [waiting, held]);
        assert_eq!(fixture.examined().await, [], "a pass does not read them");
        assert_eq!(fixture.pass(&mut term).await, []);
    }

    fixture.hold(HeldSubject::Destination, HELD.0, lift).await;
    fixture.pass(&mut term).await;
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![young], vec![young]));
    assert_eq!(fixture.exceptions().await, []);
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn a_hold_that_the_read_models_do_not_show_yet_keeps_its_events() {
    let fixture = tenant_with(days(7, 30)).await;
    let old = fixture.cancelled(40).await;
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    fixture.hold(HeldSubject::Destination, DESTINATION.0, place).await;
    while term.remove_expired(clock::now()).await.expect("a step").more {}
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![old], vec![old]));
    drop(term);
    fixture.discard().await;
}
