//! Legal hold: placed once, then lifted.

use aggregates::legal_hold::{
    HeldSubject, LegalHold, LegalHoldCommand as Command, LegalHoldFact as Fact, LegalHoldRefusal as Refusal,
};

use crate::given::{given, moment};

fn place(reason: &str) -> Command {
    Command::Place { subject: HeldSubject::Destination, reason: reason.to_owned(), at: moment(1) }
}

fn placed(reason: &str) -> Fact {
    Fact::LegalHoldPlaced { subject: HeldSubject::Destination, reason: reason.to_owned(), at: moment(1) }
}

fn lift() -> Command {
    Command::Lift { reason: "settled".to_owned(), at: moment(2) }
}

fn lifted() -> Fact {
    Fact::LegalHoldLifted { subject: HeldSubject::Destination, reason: "settled".to_owned(), at: moment(2) }
}

#[test]
fn a_hold_is_placed_lifted_and_placed_again() {
    given::<LegalHold>([])
        .when(place("case 1"))
        .then([placed("case 1")])
        .when(lift())
        .then([lifted()])
        .when(place("case 2"))
        .then([placed("case 2")]);
}

#[test]
fn a_second_hold_is_refused_because_lifting_the_first_would_lift_both() {
    given::<LegalHold>([placed("case 1")]).when(place("case 2")).then_refused(Refusal::AlreadyHeld);
}

#[test]
fn a_hold_that_is_not_there_is_not_lifted() {
    given::<LegalHold>([]).when(lift()).then_nothing();
    given::<LegalHold>([placed("case 1"), lifted()]).when(lift()).then_nothing();
}
