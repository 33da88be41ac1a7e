//! Destinations: settings and the stages of the circuit breaker.

use aggregates::destination::{
    AuthChange, AuthType, Destination, DestinationCommand as Command, DestinationFact as Fact,
    DestinationRefusal as Refusal, OutboundAuth, Stage,
};

use crate::given::{ACME, Given, given, moment, sealed, token};

const URL: &str = "https://shop.example.com/hooks";

fn auth(name: &str) -> OutboundAuth {
    OutboundAuth { auth_type: AuthType::BearerToken, credentials: sealed(name) }
}

fn register(auth: Option<OutboundAuth>) -> Command {
    Command::Register {
        tenant_id: ACME,
        url: URL.to_owned(),
        concurrency_limit: 5,
        auth,
        ingest_token_hash: token("first"),
        at: moment(0),
    }
}

fn registered() -> Fact {
    Fact::DestinationRegistered {
        tenant_id: ACME,
        url: URL.to_owned(),
        concurrency_limit: 5,
        ingest_token_hash: token("first"),
        at: moment(0),
    }
}

/// Change without settings; tests add those that they are about.
fn no_change() -> Command {
    Command::Change {
        url: None,
        concurrency_limit: None,
        active: None,
        auth: AuthChange::Keep,
        at: moment(1),
    }
}

fn change_url(to: &str) -> Command {
    let url = Some(to.to_owned());
    Command::Change { url, concurrency_limit: None, active: None, auth: AuthChange::Keep, at: moment(1) }
}

fn change_limit(to: u32) -> Command {
    let concurrency_limit = Some(to);
    Command::Change { url: None, concurrency_limit, active: None, auth: AuthChange::Keep, at: moment(1) }
}

fn change_auth(auth: AuthChange) -> Command {
    Command::Change { url: None, concurrency_limit: None, active: None, auth, at: moment(1) }
}

fn switch(on: bool) -> Command {
    let active = Some(on);
    Command::Change { url: None, concurrency_limit: None, active, auth: AuthChange::Keep, at: moment(1) }
}

fn configured(name: &str) -> Fact {
    Fact::OutboundAuthConfigured { auth: auth(name), at: moment(1) }
}

fn activated() -> Fact {
    Fact::DestinationActivated { at: moment(1) }
}

fn deactivated() -> Fact {
    Fact::DestinationDeactivated { at: moment(1) }
}

fn suspend() -> Command {
    Command::Suspend { consecutive_failures: 5, timer_seconds: 300, at: moment(2) }
}

fn suspended() -> Fact {
    Fact::DestinationSuspended { consecutive_failures: 5, next_check_at: moment(302), at: moment(2) }
}

fn probe() -> Command {
    Command::Probe { at: moment(302) }
}

fn probed() -> Fact {
    Fact::DestinationProbed { at: moment(302) }
}

fn resume() -> Command {
    Command::Resume { at: moment(303) }
}

fn resumed() -> Fact {
    Fact::DestinationResumed { at: moment(303) }
}

/// Destination whose facts led to this stage.
fn in_stage(stage: Stage) -> Given<Destination> {
    let destination = match stage {
        Stage::Active => given::<Destination>([registered()]),
        Stage::Suspended => given::<Destination>([registered(), suspended()]),
        Stage::Probing => given::<Destination>([registered(), suspended(), probed()]),
        Stage::Inactive => given::<Destination>([registered(), deactivated()]),
    };
    assert_eq!(stage_of(&destination), stage);
    destination
}

fn stage_of(destination: &Given<Destination>) -> Stage {
    let Destination::Registered(endpoint) = destination.state() else { panic!("it is registered") };
    endpoint.stage
}

#[test]
fn a_destination_is_active_when_registered() {
    let destination = given::<Destination>([]).when(register(None)).then([registered()]);
    assert_eq!(stage_of(&destination), Stage::Active);
}

#[test]
fn registration_with_credentials_gives_two_facts() {
    let configured = Fact::OutboundAuthConfigured { auth: auth("secret"), at: moment(0) };
    given::<Destination>([]).when(register(Some(auth("secret")))).then([registered(), configured]);
}

#[test]
fn a_destination_is_not_registered_twice() {
    given::<Destination>([registered()]).when(register(None)).then_refused(Refusal::AlreadyRegistered);
}

#[test]
fn an_unknown_destination_refuses_every_other_command() {
    let regenerate = Command::RegenerateIngestToken { ingest_token_hash: token("second"), at: moment(1) };
    for command in [no_change(), switch(true), regenerate, suspend(), probe(), resume()] {
        given::<Destination>([]).when(command).then_refused(Refusal::NotRegistered);
    }
}

#[test]
fn an_empty_change_is_ignored() {
    given::<Destination>([registered()]).when(no_change()).then_nothing();
}

#[test]
fn the_current_url_and_limit_are_ignored() {
    let elsewhere = "https://elsewhere.example.com";
    given::<Destination>([registered()])
        .when(change_url(URL))
        .then_nothing()
        .when(change_url(elsewhere))
        .then([Fact::DestinationUrlChanged { url: elsewhere.to_owned(), at: moment(1) }])
        .when(change_url(elsewhere))
        .then_nothing()
        .when(change_limit(5))
        .then_nothing()
        .when(change_limit(9))
        .then([Fact::ConcurrencyLimitChanged { concurrency_limit: 9, at: moment(1) }])
        .when(change_limit(9))
        .then_nothing();
}

#[test]
fn credentials_are_configured_replaced_and_removed() {
    given::<Destination>([registered()])
        .when(change_auth(AuthChange::Remove))
        .then_nothing()
        .when(change_auth(AuthChange::Configure(auth("one"))))
        .then([configured("one")])
        .when(change_auth(AuthChange::Configure(auth("one"))))
        .then_nothing()
        .when(change_auth(AuthChange::Configure(auth("other"))))
        .then([configured("other")])
        .when(change_auth(AuthChange::Keep))
        .then_nothing()
        .when(change_auth(AuthChange::Remove))
        .then([Fact::OutboundAuthRemoved { at: moment(1) }])
        .when(change_auth(AuthChange::Remove))
        .then_nothing();
}

#[test]
fn one_change_can_give_several_facts() {
    let everything = Command::Change {
        url: Some("https://elsewhere.example.com".to_owned()),
        concurrency_limit: Some(1),
        active: Some(false),
        auth: AuthChange::Configure(auth("one")),
        at: moment(1),
    };
    given::<Destination>([registered()]).when(everything).then([
        Fact::DestinationUrlChanged { url: "https://elsewhere.example.com".to_owned(), at: moment(1) },
        Fact::ConcurrencyLimitChanged { concurrency_limit: 1, at: moment(1) },
        configured("one"),
        deactivated(),
    ]);
}

#[test]
fn the_ingest_token_can_be_replaced_repeatedly_in_any_stage() {
    let regenerate = || Command::RegenerateIngestToken { ingest_token_hash: token("second"), at: moment(1) };
    let regenerated = || Fact::IngestTokenRegenerated { ingest_token_hash: token("second"), at: moment(1) };
    for stage in [Stage::Active, Stage::Probing, Stage::Suspended, Stage::Inactive] {
        let after =
            in_stage(stage).when(regenerate()).then([regenerated()]).when(regenerate()).then([regenerated()]);
        assert_eq!(stage_of(&after), stage);
    }
}

#[test]
fn it_can_be_activated_in_any_stage_but_active() {
    in_stage(Stage::Active).when(switch(true)).then_nothing();
    for stage in [Stage::Probing, Stage::Suspended, Stage::Inactive] {
        let after = in_stage(stage).when(switch(true)).then([activated()]);
        assert_eq!(stage_of(&after), Stage::Active, "from {stage:?}");
    }
}

#[test]
fn it_can_be_deactivated_in_any_stage_but_inactive() {
    in_stage(Stage::Inactive).when(switch(false)).then_nothing();
    for stage in [Stage::Active, Stage::Probing, Stage::Suspended] {
        let after = in_stage(stage).when(switch(false)).then([deactivated()]);
        assert_eq!(stage_of(&after), Stage::Inactive, "from {stage:?}");
    }
}

#[test]
fn the_breaker_opens_only_while_active_or_probing() {
    for stage in [Stage::Active, Stage::Probing] {
        let after = in_stage(stage).when(suspend()).then([suspended()]);
        assert_eq!(stage_of(&after), Stage::Suspended, "from {stage:?}");
    }
    for stage in [Stage::Suspended, Stage::Inactive] {
        in_stage(stage).when(suspend()).then_nothing();
    }
}

#[test]
fn only_an_open_breaker_is_half_opened() {
    let after = in_stage(Stage::Suspended).when(probe()).then([probed()]);
    assert_eq!(stage_of(&after), Stage::Probing);
    for stage in [Stage::Active, Stage::Probing, Stage::Inactive] {
        in_stage(stage).when(probe()).then_nothing();
    }
}

/// A success that arrives late closes an open breaker as well.
#[test]
fn a_success_closes_the_breaker_unless_closed_or_inactive() {
    for stage in [Stage::Suspended, Stage::Probing] {
        let after = in_stage(stage).when(resume()).then([resumed()]);
        assert_eq!(stage_of(&after), Stage::Active, "from {stage:?}");
    }
    for stage in [Stage::Active, Stage::Inactive] {
        in_stage(stage).when(resume()).then_nothing();
    }
}

#[test]
fn the_longest_timer_does_not_overflow() {
    let at = moment(2);
    let next_check_at = at + chrono::TimeDelta::seconds(i64::from(u32::MAX));
    in_stage(Stage::Active)
        .when(Command::Suspend { consecutive_failures: 5, timer_seconds: u32::MAX, at })
        .then([Fact::DestinationSuspended { consecutive_failures: 5, next_check_at, at }]);
}
