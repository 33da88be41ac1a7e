//! Tenants: settings, signing secret and owners.

use aggregates::Decide;
use aggregates::ids::UserId;
use aggregates::sealed::Fingerprint;
use aggregates::tenant::{
    Resilience, Retention, Tenant, TenantCommand as Command, TenantFact as Fact, TenantRefusal as Refusal,
    WebhookSecret,
};
use cqrs_es::{Aggregate, DomainEvent};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::given::{ALICE, BOB, given, moment, sealed};

fn secret(name: &str) -> WebhookSecret {
    WebhookSecret { sealed: sealed(name), fingerprint: Fingerprint(name.to_owned()) }
}

fn register() -> Command {
    Command::Register {
        name: "Acme".to_owned(),
        owner: ALICE,
        resilience: Resilience::default(),
        retention: Retention::default(),
        webhook_secret: secret("first"),
        at: moment(0),
    }
}

fn registered() -> Fact {
    Fact::TenantRegistered {
        name: "Acme".to_owned(),
        owner: ALICE,
        resilience: Resilience::default(),
        retention: Retention::default(),
        webhook_secret: secret("first"),
        at: moment(0),
    }
}

fn rename(name: &str) -> Command {
    Command::Rename { name: name.to_owned(), at: moment(1) }
}

fn change_resilience(max_attempts: u32) -> Command {
    let resilience = Resilience { max_attempts, ..Resilience::default() };
    Command::ChangeResilience { resilience, at: moment(1) }
}

fn change_retention(payload_days: Option<u32>) -> Command {
    Command::ChangeRetention { retention: Retention { payload_days, event_days: None }, at: moment(1) }
}

fn regenerate() -> Command {
    let previous_signs_until = Some(moment(60));
    Command::RegenerateWebhookSecret { webhook_secret: secret("second"), previous_signs_until, at: moment(1) }
}

fn regenerated() -> Fact {
    let previous_signs_until = Some(moment(60));
    Fact::WebhookSecretRegenerated { webhook_secret: secret("second"), previous_signs_until, at: moment(1) }
}

fn appoint_bob() -> Command {
    Command::AppointOwner { user_id: BOB, at: moment(2) }
}

fn bob_appointed() -> Fact {
    Fact::OwnerAppointed { user_id: BOB, at: moment(2) }
}

fn dismiss(user_id: UserId) -> Command {
    Command::DismissOwner { user_id, at: moment(3) }
}

fn dismissed(user_id: UserId) -> Fact {
    Fact::OwnerDismissed { user_id, at: moment(3) }
}

fn suspend(reason: &str) -> Command {
    Command::Suspend { reason: reason.to_owned(), at: moment(4) }
}

fn suspended(reason: &str) -> Fact {
    Fact::TenantSuspended { reason: reason.to_owned(), at: moment(4) }
}

fn resume() -> Command {
    Command::Resume { at: moment(5) }
}

fn resumed() -> Fact {
    Fact::TenantResumed { at: moment(5) }
}

#[test]
fn a_tenant_is_registered_with_its_first_owner() {
    let tenant = given::<Tenant>([]).when(register()).then([registered()]);
    let Tenant::Registered(account) = tenant.state() else { panic!("it is registered") };
    assert_eq!(account.owners.iter().copied().collect::<Vec<_>>(), [ALICE]);
    assert_eq!(account.webhook_secret, secret("first"));
}

#[test]
fn by_default_a_tenant_has_ten_attempts_and_a_timer_of_five_minutes() {
    assert_eq!(Resilience::default(), Resilience { max_attempts: 10, circuit_breaker_timer: 300 });
}

#[test]
fn a_tenant_is_not_registered_twice() {
    given::<Tenant>([registered()]).when(register()).then_refused(Refusal::AlreadyRegistered);
}

#[test]
fn an_unknown_tenant_refuses_every_other_command() {
    let changes = [rename("Acme"), change_resilience(3), change_retention(None), regenerate()];
    let others = [appoint_bob(), dismiss(ALICE), suspend("spam"), resume()];
    for command in changes.into_iter().chain(others) {
        given::<Tenant>([]).when(command).then_refused(Refusal::NotRegistered);
    }
}

#[test]
fn the_current_name_is_ignored() {
    let renamed = Fact::TenantRenamed { name: "Umbrella".to_owned(), at: moment(1) };
    given::<Tenant>([registered()])
        .when(rename("Acme"))
        .then_nothing()
        .when(rename("Umbrella"))
        .then([renamed])
        .when(rename("Umbrella"))
        .then_nothing();
}

#[test]
fn names_that_differ_only_in_case_are_different() {
    let renamed = Fact::TenantRenamed { name: "ACME".to_owned(), at: moment(1) };
    given::<Tenant>([registered()]).when(rename("ACME")).then([renamed]);
}

#[test]
fn the_current_retry_policy_is_ignored() {
    let resilience = Resilience { max_attempts: 3, ..Resilience::default() };
    let changed = Fact::ResilienceChanged { resilience, at: moment(1) };
    given::<Tenant>([registered()])
        .when(change_resilience(10))
        .then_nothing()
        .when(change_resilience(3))
        .then([changed])
        .when(change_resilience(3))
        .then_nothing();
}

#[test]
fn by_default_a_tenant_keeps_everything() {
    assert_eq!(Retention::default(), Retention { payload_days: None, event_days: None });
    let tenant = given::<Tenant>([]).when(register()).then([registered()]);
    let Tenant::Registered(account) = tenant.state() else { panic!("it is registered") };
    assert_eq!(account.retention, Retention::default());
}

#[test]
fn the_current_retention_is_ignored() {
    let changed = |payload_days| Fact::RetentionChanged {
        retention: Retention { payload_days, event_days: None },
        at: moment(1),
    };
    given::<Tenant>([registered()])
        .when(change_retention(None))
        .then_nothing()
        .when(change_retention(Some(30)))
        .then([changed(Some(30))])
        .when(change_retention(Some(30)))
        .then_nothing()
        .when(change_retention(None))
        .then([changed(None)]);
}

#[test]
fn payloads_are_removed_at_the_latest_with_their_events() {
    for (payload_days, event_days, at_most) in [
        (None, None, None),
        (Some(7), None, Some(7)),
        (None, Some(30), Some(30)),
        (Some(7), Some(30), Some(7)),
        (Some(30), Some(7), Some(7)),
    ] {
        let retention = Retention { payload_days, event_days };
        assert_eq!(retention.payload_days_at_most(), at_most, "{retention:?}");
    }
}

#[test]
fn the_signing_secret_can_be_replaced_repeatedly() {
    let tenant = given::<Tenant>([registered()])
        .when(regenerate())
        .then([regenerated()])
        .when(regenerate())
        .then([regenerated()]);
    let Tenant::Registered(account) = tenant.state() else { panic!("it is registered") };
    assert_eq!(account.webhook_secret, secret("second"));
}

#[test]
fn an_owner_is_appointed_once() {
    given::<Tenant>([registered()])
        .when(appoint_bob())
        .then([bob_appointed()])
        .when(appoint_bob())
        .then_nothing();
}

#[test]
fn the_last_owner_cannot_be_dismissed() {
    given::<Tenant>([registered()]).when(dismiss(ALICE)).then_refused(Refusal::LastOwner);
}

#[test]
fn of_two_owners_only_one_can_be_dismissed() {
    given::<Tenant>([registered(), bob_appointed()])
        .when(dismiss(ALICE))
        .then([dismissed(ALICE)])
        .when(dismiss(BOB))
        .then_refused(Refusal::LastOwner);
}

#[test]
fn dismissing_another_user_is_ignored_even_with_one_owner_left() {
    given::<Tenant>([registered()]).when(dismiss(BOB)).then_nothing();
    given::<Tenant>([registered(), bob_appointed(), dismissed(BOB)]).when(dismiss(BOB)).then_nothing();
}

#[test]
fn a_suspended_tenant_stays_suspended_for_the_first_reason_until_it_is_resumed() {
    let is_suspended = |tenant: &Tenant| match tenant {
        Tenant::Registered(account) => account.is_suspended,
        Tenant::Unknown => panic!("it is registered"),
    };
    let tenant = given::<Tenant>([registered()]).when(suspend("spam")).then([suspended("spam")]);
    assert!(is_suspended(tenant.state()));
    let tenant = tenant.when(suspend("more spam")).then_nothing().when(resume()).then([resumed()]);
    assert!(!is_suspended(tenant.state()));
    tenant.when(suspend("spam")).then([suspended("spam")]);
}

#[test]
fn a_tenant_that_is_not_suspended_ignores_a_resumption() {
    given::<Tenant>([registered()]).when(resume()).then_nothing();
    given::<Tenant>([registered(), suspended("spam"), resumed()]).when(resume()).then_nothing();
}

#[test]
fn a_suspended_tenant_can_still_be_changed() {
    let renamed = Fact::TenantRenamed { name: "Umbrella".to_owned(), at: moment(1) };
    given::<Tenant>([registered(), suspended("spam")]).when(rename("Umbrella")).then([renamed]);
}

#[test]
fn the_facts_of_a_suspension_have_the_declared_names() {
    let names = [suspended("spam"), resumed()].map(|fact| fact.event_type());
    assert_eq!(names, Fact::OF_SUSPENSION);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_tenant_always_has_an_owner(steps in vec((0..4_u128, any::<bool>()), 0..30)) {
        let mut tenant = Tenant::default();
        tenant.apply(registered());
        for (person, appoint) in steps {
            let user_id = UserId(Uuid::from_u128(person));
            let command = if appoint {
                Command::AppointOwner { user_id, at: moment(2) }
            } else {
                Command::DismissOwner { user_id, at: moment(2) }
            };
            for fact in tenant.decide(command).unwrap_or_default() {
                tenant.apply(fact);
            }
            let Tenant::Registered(account) = &tenant else { panic!("it is registered") };
            prop_assert!(!account.owners.is_empty());
        }
    }
}
