//! Reservations: one holder at a time.

use aggregates::reservation::{Reservation, ReservationCommand, ReservationFact, ReservationRefusal};
use uuid::Uuid;

use crate::given::{ALICE, BOB, given, moment};

fn take(holder: Uuid) -> ReservationCommand {
    ReservationCommand::Reserve { holder, at: moment(0) }
}

fn taken(holder: Uuid) -> ReservationFact {
    ReservationFact::ReservationMade { holder, at: moment(0) }
}

fn release(holder: Uuid) -> ReservationCommand {
    ReservationCommand::Release { holder, at: moment(1) }
}

fn released(holder: Uuid) -> ReservationFact {
    ReservationFact::ReservationReleased { holder, at: moment(1) }
}

#[test]
fn an_available_value_can_be_reserved() {
    given::<Reservation>([]).when(take(ALICE.0)).then([taken(ALICE.0)]);
}

#[test]
fn a_reserved_value_cannot_be_reserved_by_another() {
    given::<Reservation>([taken(ALICE.0)]).when(take(BOB.0)).then_refused(ReservationRefusal::Taken);
}

#[test]
fn reserving_again_by_the_holder_is_ignored() {
    given::<Reservation>([taken(ALICE.0)]).when(take(ALICE.0)).then_nothing();
}

#[test]
fn a_released_value_can_be_reserved_by_another() {
    given::<Reservation>([taken(ALICE.0)])
        .when(release(ALICE.0))
        .then([released(ALICE.0)])
        .when(take(BOB.0))
        .then([taken(BOB.0)])
        .when(take(ALICE.0))
        .then_refused(ReservationRefusal::Taken);
}

#[test]
fn releasing_by_another_than_the_holder_is_ignored() {
    given::<Reservation>([taken(ALICE.0)]).when(release(BOB.0)).then_nothing();
    given::<Reservation>([taken(ALICE.0), released(ALICE.0)]).when(release(ALICE.0)).then_nothing();
    given::<Reservation>([]).when(release(ALICE.0)).then_nothing();
}

/// The streams are stored under these ids. If they changed, every reserved value would be available again.
#[test]
fn the_stream_of_a_reservation_never_changes() {
    assert_eq!(Reservation::on_tenant_name("Acme Inc").to_string(), "413b42b9-b9dc-5c19-b208-e98743c2cdbe");
    let invitation = Reservation::on_tenant_invitation(Uuid::from_u128(7));
    assert_eq!(invitation.to_string(), "2d5ac84e-a844-5c38-b143-130ffc2a905d");
}

#[test]
fn tenant_names_are_compared_exactly() {
    assert_ne!(Reservation::on_tenant_name("Acme"), Reservation::on_tenant_name("ACME"));
}
