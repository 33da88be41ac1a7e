//! The adapter to `cqrs-es`.

use aggregates::Decide;
use aggregates::destination::{AuthType, Destination, DestinationCommand, DestinationRefusal, OutboundAuth};
use cqrs_es::test::TestFramework;

use crate::given::{ACME, moment, sealed, token};

fn register() -> DestinationCommand {
    DestinationCommand::Register {
        tenant_id: ACME,
        url: "https://shop.example.com/hooks".to_owned(),
        concurrency_limit: 5,
        auth: Some(OutboundAuth { auth_type: AuthType::BasicAuth, credentials: sealed("secret") }),
        ingest_token_hash: token("first"),
        at: moment(0),
    }
}

#[test]
fn the_framework_writes_every_decided_fact() {
    let decided = Destination::default().decide(register()).expect("two facts");
    assert_eq!(decided.len(), 2);
    TestFramework::<Destination>::with(())
        .given_no_previous_events()
        .when(register())
        .then_expect_events(decided);
}

#[test]
fn the_framework_receives_refusals() {
    let decided = Destination::default().decide(register()).expect("two facts");
    TestFramework::<Destination>::with(())
        .given(decided)
        .when(register())
        .then_expect_error(DestinationRefusal::AlreadyRegistered);
}
