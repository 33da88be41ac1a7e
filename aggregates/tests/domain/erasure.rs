//! Erasure of the payloads of many events: requested, then completed.

use aggregates::erasure::{
    Erasure, ErasureCommand as Command, ErasureFact as Fact, ErasureRefusal as Refusal, ErasureRequest,
    ErasureResult, ErasureScope,
};

use crate::given::{ALICE, SHOP, given, moment};

fn request() -> ErasureRequest {
    ErasureRequest {
        scope: ErasureScope { destination_id: Some(SHOP), ..ErasureScope::default() },
        reason: "law".to_owned(),
        requested_by: ALICE,
        events: 3,
        at: moment(0),
    }
}

fn result() -> ErasureResult {
    ErasureResult { erased: 2, kept: 1, at: moment(9) }
}

#[test]
fn an_erasure_is_requested_once_and_completed_once() {
    given::<Erasure>([])
        .when(Command::Request(request()))
        .then([Fact::ErasureRequested(request())])
        .when(Command::Complete(result()))
        .then([Fact::ErasureCompleted(result())])
        .when(Command::Complete(result()))
        .then_nothing()
        .when(Command::Request(request()))
        .then_refused(Refusal::AlreadyRequested);
}

#[test]
fn only_what_was_requested_is_completed() {
    given::<Erasure>([]).when(Command::Complete(result())).then_refused(Refusal::NotRequested);
    given::<Erasure>([Fact::ErasureRequested(request())])
        .when(Command::Request(request()))
        .then_refused(Refusal::AlreadyRequested);
}
