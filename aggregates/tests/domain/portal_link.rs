//! Portal links: creation, validity and revocation.

use aggregates::portal_link::{
    PORTAL_LINK_VALIDITY_MAX, PortalAccess, PortalLink, PortalLinkCommand, PortalLinkFact, PortalLinkRefusal,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::given::{ACME, SHOP, given, moment, token};

fn create(expires_at: DateTime<Utc>) -> PortalLinkCommand {
    PortalLinkCommand::Create {
        tenant_id: ACME,
        destination_id: SHOP,
        access: PortalAccess::Operate,
        label: "Shop Ltd".to_owned(),
        token_hash: token("link"),
        expires_at,
        at: moment(0),
    }
}

fn created(expires_at: DateTime<Utc>) -> PortalLinkFact {
    PortalLinkFact::PortalLinkCreated {
        tenant_id: ACME,
        destination_id: SHOP,
        access: PortalAccess::Operate,
        label: "Shop Ltd".to_owned(),
        token_hash: token("link"),
        expires_at,
        at: moment(0),
    }
}

fn revoke() -> PortalLinkCommand {
    PortalLinkCommand::Revoke { at: moment(1) }
}

fn revoked() -> PortalLinkFact {
    PortalLinkFact::PortalLinkRevoked { at: moment(1) }
}

#[test]
fn a_link_is_created_with_the_hash_of_its_token_only() {
    given::<PortalLink>([]).when(create(moment(60))).then([created(moment(60))]);
}

#[test]
fn a_link_expires_within_90_days() {
    let last = moment(0) + PORTAL_LINK_VALIDITY_MAX;
    given::<PortalLink>([]).when(create(last)).then([created(last)]);
    for expires_at in [moment(-1), moment(0), last + TimeDelta::microseconds(1)] {
        given::<PortalLink>([]).when(create(expires_at)).then_refused(PortalLinkRefusal::InvalidExpiry);
    }
}

#[test]
fn a_link_is_not_created_twice_even_after_revocation() {
    let again = || create(moment(60));
    given::<PortalLink>([created(moment(60))]).when(again()).then_refused(PortalLinkRefusal::AlreadyCreated);
    given::<PortalLink>([created(moment(60)), revoked()])
        .when(again())
        .then_refused(PortalLinkRefusal::AlreadyCreated);
}

#[test]
fn a_link_is_revoked_once() {
    let revoked_link = given::<PortalLink>([created(moment(60))]).when(revoke()).then([revoked()]);
    assert_eq!(*revoked_link.state(), PortalLink::Revoked(ACME));
    given::<PortalLink>([created(moment(60)), revoked()])
        .when(revoke())
        .then_refused(PortalLinkRefusal::NotActive);
    given::<PortalLink>([]).when(revoke()).then_refused(PortalLinkRefusal::NotActive);
}

#[test]
fn operating_includes_reading() {
    use PortalAccess::{Operate, Read};
    assert!(Operate.includes(Read) && Operate.includes(Operate) && Read.includes(Read));
    assert!(!Read.includes(Operate));
}
