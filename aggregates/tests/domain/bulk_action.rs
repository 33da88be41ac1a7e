//! Bulk action: requested, paused, resumed, then cancelled or completed.

use std::collections::BTreeMap;

use aggregates::bulk_action::{
    BulkAction, BulkActionCommand as Command, BulkActionCounts, BulkActionFact as Fact,
    BulkActionRefusal as Refusal, BulkActionRequest, BulkActionResult, EventAction, RefusedEvents,
};
use aggregates::webhook_event::WebhookEventRefusal;

use crate::given::{ALICE, given, moment};

fn request() -> BulkActionRequest {
    BulkActionRequest {
        action: EventAction::Replay,
        filter: BTreeMap::from([("Status".to_owned(), "CriticalFailure".to_owned())]),
        rate_per_second: 50,
        requested_by: ALICE,
        events: 3,
        has_more_events: false,
        at: moment(0),
    }
}

fn result(done: u64) -> BulkActionResult {
    let refused = RefusedEvents { payload_is_erased: 1, ..RefusedEvents::default() };
    BulkActionResult { counts: BulkActionCounts { done, refused }, at: moment(9) }
}

fn running() -> Fact {
    Fact::BulkActionRequested(request())
}

fn paused() -> Fact {
    Fact::BulkActionPaused { at: moment(1) }
}

#[test]
fn a_bulk_action_is_requested_once_and_completed_once() {
    given::<BulkAction>([])
        .when(Command::Request(request()))
        .then([running()])
        .when(Command::Request(request()))
        .then_refused(Refusal::AlreadyRequested);
    given::<BulkAction>([running()])
        .when(Command::Complete(result(2)))
        .then([Fact::BulkActionCompleted(result(2))])
        .when(Command::Complete(result(2)))
        .then_nothing()
        .when(Command::Request(request()))
        .then_refused(Refusal::AlreadyRequested);
}

#[test]
fn it_is_paused_and_resumed_and_a_repetition_changes_nothing() {
    given::<BulkAction>([running()])
        .when(Command::Resume { at: moment(1) })
        .then_nothing()
        .when(Command::Pause { at: moment(1) })
        .then([paused()])
        .when(Command::Pause { at: moment(2) })
        .then_nothing()
        .when(Command::Resume { at: moment(3) })
        .then([Fact::BulkActionResumed { at: moment(3) }])
        .when(Command::Complete(result(3)))
        .then([Fact::BulkActionCompleted(result(3))]);
    given::<BulkAction>([running(), paused()])
        .when(Command::Complete(result(3)))
        .then_refused(Refusal::IsPaused);
}

#[test]
fn it_is_cancelled_while_it_runs_or_is_paused() {
    for facts in [vec![running()], vec![running(), paused()]] {
        given::<BulkAction>(facts)
            .when(Command::Cancel(result(1)))
            .then([Fact::BulkActionCancelled(result(1))])
            .when(Command::Cancel(result(2)))
            .then_nothing();
    }
}

#[test]
fn one_that_has_ended_or_was_never_requested_takes_no_command() {
    let at = moment(10);
    let commands = [
        Command::Pause { at },
        Command::Resume { at },
        Command::Cancel(result(1)),
        Command::Complete(result(1)),
    ];
    for command in commands.clone() {
        given::<BulkAction>([]).when(command).then_refused(Refusal::NotRequested);
    }
    for (number, command) in commands.into_iter().enumerate() {
        if number != 2 {
            given::<BulkAction>([running(), Fact::BulkActionCancelled(result(1))])
                .when(command.clone())
                .then_refused(Refusal::HasEnded);
        }
        if number != 3 {
            given::<BulkAction>([running(), Fact::BulkActionCompleted(result(1))])
                .when(command)
                .then_refused(Refusal::HasEnded);
        }
    }
}

#[test]
fn each_refusal_of_a_replay_or_a_cancellation_is_counted_by_its_reason() {
    let mut refused = RefusedEvents::default();
    for refusal in [
        WebhookEventRefusal::NotInCriticalFailure,
        WebhookEventRefusal::PayloadIsErased,
        WebhookEventRefusal::NotWaiting,
        WebhookEventRefusal::AttemptInProgress,
    ] {
        assert_eq!(refused.count(refusal), Ok(()));
    }
    let once = RefusedEvents {
        not_in_critical_failure: 1,
        payload_is_erased: 1,
        not_waiting: 1,
        attempt_in_progress: 1,
    };
    assert_eq!((refused, refused.total()), (once, 4));
    let other = WebhookEventRefusal::NotAccepted;
    assert_eq!(refused.count(other.clone()), Err(other));
}
