//! Accesses: what is recorded, and how often.

use aggregates::access::{Access, AccessCommand, AccessFact, AccessRefusal, Accessed, Reader};
use aggregates::ids::{PortalLinkId, WebhookEventId};
use uuid::Uuid;

use crate::given::{ALICE, BOB, SHOP, given, moment};

const HOUR: i64 = 3_600;

fn read(accessed: Accessed, seconds: i64) -> AccessCommand {
    AccessCommand { reader: Reader::User(ALICE), accessed, at: moment(seconds) }
}

fn payload_read(seconds: i64) -> AccessFact {
    AccessFact::PayloadRead { user_id: ALICE, at: moment(seconds) }
}

#[test]
fn a_reader_is_recorded_once_within_an_hour() {
    given::<Access>([])
        .when(read(Accessed::Payload, 0))
        .then([payload_read(0)])
        .when(read(Accessed::Payload, HOUR - 1))
        .then_nothing()
        .when(read(Accessed::Payload, HOUR))
        .then([payload_read(HOUR)])
        .when(AccessCommand { reader: Reader::User(BOB), ..read(Accessed::Payload, HOUR) })
        .then([AccessFact::PayloadRead { user_id: BOB, at: moment(HOUR) }])
        .when(read(Accessed::Payload, HOUR + 1))
        .then_nothing();
}

#[test]
fn different_things_are_recorded_separately() {
    let all = || read(Accessed::Payloads { destination_id: None }, 1);
    let of_shop = || read(Accessed::Payloads { destination_id: Some(SHOP) }, 1);
    let listed =
        |destination_id| AccessFact::PayloadsListed { user_id: ALICE, destination_id, at: moment(1) };
    given::<Access>([])
        .when(all())
        .then([listed(None)])
        .when(of_shop())
        .then([listed(Some(SHOP))])
        .when(all())
        .then_nothing()
        .when(of_shop())
        .then_nothing()
        .when(read(Accessed::WebhookSecret, 1))
        .then([AccessFact::WebhookSecretRead { user_id: ALICE, at: moment(1) }])
        .when(read(Accessed::WebhookSecret, 2))
        .then_nothing();
}

#[test]
fn each_export_is_recorded() {
    let (format, filter) = ("csv".to_owned(), String::new());
    let export = || read(Accessed::AuditTrail { format: format.clone(), filter: filter.clone() }, 1);
    let exported = || AccessFact::AuditExported {
        user_id: ALICE,
        format: format.clone(),
        filter: filter.clone(),
        at: moment(1),
    };
    given::<Access>([]).when(export()).then([exported()]).when(export()).then([exported()]);
}

#[test]
fn the_accesses_of_a_reader_have_a_stream_for_each_day() {
    let first = Access::of_reader(Reader::User(ALICE), moment(0));
    assert_eq!(first, Access::of_reader(Reader::User(ALICE), moment(86_399)));
    assert_ne!(first, Access::of_reader(Reader::User(ALICE), moment(86_400)));
    assert_ne!(first, Access::of_reader(Reader::User(BOB), moment(0)));
    let event = Uuid::from_u128(7);
    assert_eq!(Access::of_event(WebhookEventId(event)), event);
}

#[test]
fn a_portal_link_is_recorded_as_itself_and_shows_payloads_only() {
    let link = PortalLinkId(Uuid::from_u128(0x9071));
    let through = |accessed| AccessCommand { reader: Reader::PortalLink(link), ..read(accessed, 1) };
    let of_shop = || Accessed::Payloads { destination_id: Some(SHOP) };
    given::<Access>([payload_read(0)])
        .when(through(Accessed::Payload))
        .then([AccessFact::PortalPayloadRead { portal_link_id: link, at: moment(1) }])
        .when(through(Accessed::Payload))
        .then_nothing()
        .when(through(of_shop()))
        .then([AccessFact::PortalPayloadsListed {
            portal_link_id: link,
            destination_id: SHOP,
            at: moment(1),
        }])
        .when(through(of_shop()))
        .then_nothing();
    let (format, filter) = ("csv".to_owned(), String::new());
    let of_all = Accessed::Payloads { destination_id: None };
    for forbidden in [of_all, Accessed::WebhookSecret, Accessed::AuditTrail { format, filter }] {
        given::<Access>([]).when(through(forbidden)).then_refused(AccessRefusal::NotForPortalLinks);
    }
}
