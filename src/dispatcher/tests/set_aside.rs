//! Facts that this version of the program cannot read.

use std::collections::HashSet;

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEventFact;
use aggregates_testing::{accepted, attempted, started};
use chrono::DateTime;
use cqrs_es::DomainEvent;
use projections::{LogPosition, LogRow, TransactionId};
use uuid::Uuid;

use super::model::World;
use crate::dispatcher::page::Page;
use crate::dispatcher::set_aside::{SetAside, fold_stream};

fn position(number: i64) -> LogPosition {
    LogPosition { transaction_id: TransactionId(number.unsigned_abs()), position: number }
}

fn row(number: i64, aggregate_type: &str, event_type: &str, payload: String) -> LogRow {
    LogRow {
        transaction_id: TransactionId(number.unsigned_abs()),
        position: number,
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: Uuid::from_u128(1).to_string(),
        sequence: number,
        event_type: event_type.to_owned(),
        event_version: "1.0".to_owned(),
        payload,
        tenant_id: None,
        recorded_at: DateTime::UNIX_EPOCH,
    }
}

fn row_of(number: i64, fact: &WebhookEventFact) -> LogRow {
    let payload = serde_json::to_string(fact).expect("a fact");
    LogRow { event_version: fact.event_version(), ..row(number, "WebhookEvent", &fact.event_type(), payload) }
}

fn unknown(number: i64, aggregate_type: &str) -> LogRow {
    row(number, aggregate_type, "Teleported", "{}".to_owned())
}

fn event() -> WebhookEventId {
    WebhookEventId(Uuid::from_u128(1))
}

#[test]
fn a_fact_of_an_aggregate_that_is_not_folded_is_not_read() {
    let rows =
        vec![unknown(1, "Invite"), unknown(2, "Planet"), row_of(3, &accepted().fact()), unknown(4, "User")];
    let page = Page::read(rows, |_| false).expect("a page");
    assert_eq!(page.facts.len(), 1);
    assert_eq!(page.unreadable, []);
    assert_eq!(page.position, Some(position(4)), "it is not read again");
}

#[test]
fn an_event_with_an_unreadable_fact_is_set_aside_from_that_fact_on() {
    let rows = vec![row_of(1, &accepted().fact()), unknown(2, "WebhookEvent"), row_of(3, &started().fact())];
    let page = Page::read(rows.clone(), |_| false).expect("a page");
    assert_eq!(page.facts.iter().map(|fact| fact.sequence).collect::<Vec<_>>(), [1]);
    assert_eq!(page.unreadable.len(), 1);
    assert_eq!(page.unreadable[0].event_id, event());
    let page = Page::read(rows, |id| id == event()).expect("a page");
    assert!(page.facts.is_empty() && page.unreadable.is_empty());
    assert_eq!(page.position, Some(position(3)));
}

#[test]
fn a_destination_with_an_unreadable_fact_ends_the_term() {
    assert!(Page::read(vec![unknown(1, "Destination")], |_| false).is_err());
}

#[test]
fn an_event_that_can_be_read_again_continues_where_the_log_says() {
    let facts = [
        accepted().fact(),
        started().fact(),
        attempted().outcome(Outcome::Unknown).unknown_in_a_row(1).fact(),
        started().attempt(2).fact(),
        attempted().attempt(2).fact(),
    ];
    let rows: Vec<LogRow> = (1..).zip(&facts).map(|(number, fact)| row_of(number, fact)).collect();
    let folded = |until| fold_stream(rows.clone(), position(until)).expect("readable facts");
    let due = folded(4).expect("an attempt in flight");
    assert_eq!((due.stream_version, due.attempts, due.unknown_in_a_row), (4, 2, 1));
    assert!(due.started.is_some());
    assert_eq!(folded(5), None, "it has ended");
    let with_unknown = [rows, vec![unknown(6, "WebhookEvent")]].concat();
    assert!(fold_stream(with_unknown.clone(), position(6)).is_err());
    assert!(fold_stream(with_unknown, position(5)).is_ok(), "what follows is read with the log");
}

#[test]
fn the_other_events_of_the_destination_go_on() {
    for state in 0..3 {
        let (mut world, id) = World::with_destination(1);
        let bad = world.accept(id);
        let good = world.accept_many(id, 3);
        world.fold_all();
        // It waits, is released, or is being attempted.
        if state > 0 {
            world.step();
        }
        if state > 1 {
            world.start_all();
            world.fold_all();
        }
        world.queue.clear();
        let reason = "unknown".to_owned();
        world.core.schedule.set_aside(SetAside { event_id: bad, reason });
        let mut delivered = HashSet::new();
        for _ in 0..5 {
            world.step();
            for event in world.start_all() {
                world.finish(event, Outcome::Succeeded);
                delivered.insert(event);
            }
            world.fold_all();
        }
        assert_eq!(delivered, good.into_iter().collect(), "in state {state}");
        world.flush();
        assert!(!world.tables.due.contains_key(&bad));
        world.change_leader();
        assert!(world.core.schedule.is_set_aside(bad));
        assert_eq!(world.step(), []);
    }
}

#[test]
fn a_restored_event_is_delivered() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    let due = world.core.schedule.changes[&event].row.clone();
    world.core.schedule.set_aside(SetAside { event_id: event, reason: String::new() });
    assert_eq!(world.step(), []);
    let present = world.present();
    world.core.schedule.restore(event, due, present);
    assert_eq!(world.step().len(), 1);
    assert_eq!(world.start_all(), [event]);
}
