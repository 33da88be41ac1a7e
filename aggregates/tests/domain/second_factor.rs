//! Second factors: enrolment, codes for recovery, and their end.

use aggregates::role::{Role, UserStatus};
use aggregates::second_factor::{SecondFactor, SecondFactorCommand};
use aggregates::user::{User, UserCommand as Command, UserFact as Fact, UserRefusal as Refusal};

use crate::given::{ACME, given, moment, sealed, token};

fn registered(role: Role) -> Fact {
    Fact::UserRegistered { tenant_id: ACME, email_hmac_sha256: Some("hmac".to_owned()), role, at: moment(0) }
}

fn begin(secret: &str) -> Command {
    Command::SecondFactor(SecondFactorCommand::Begin { secret: sealed(secret), at: moment(1) })
}

fn begun(secret: &str) -> Fact {
    Fact::SecondFactorBegun { secret: sealed(secret), at: moment(1) }
}

fn enable(secret: &str) -> Command {
    let (secret, recovery_codes) = (sealed(secret), vec![token("one"), token("two")]);
    Command::SecondFactor(SecondFactorCommand::Enable { secret, recovery_codes, at: moment(2) })
}

fn enabled() -> Fact {
    Fact::SecondFactorEnabled { recovery_codes: vec![token("one"), token("two")], at: moment(2) }
}

fn replace_codes() -> Command {
    let recovery_codes = vec![token("three")];
    Command::SecondFactor(SecondFactorCommand::ReplaceRecoveryCodes { recovery_codes, at: moment(3) })
}

fn codes_replaced() -> Fact {
    Fact::RecoveryCodesReplaced { recovery_codes: vec![token("three")], at: moment(3) }
}

fn use_code(code: &str) -> Command {
    let recovery_code = token(code);
    Command::SecondFactor(SecondFactorCommand::UseRecoveryCode { recovery_code, at: moment(4) })
}

fn code_used(code: &str) -> Fact {
    Fact::RecoveryCodeUsed { recovery_code: token(code), at: moment(4) }
}

fn disable() -> Command {
    Command::SecondFactor(SecondFactorCommand::Disable { at: moment(5) })
}

fn disabled() -> Fact {
    Fact::SecondFactorDisabled { at: moment(5) }
}

/// Facts of an Owner with a second factor.
fn with_second_factor() -> [Fact; 3] {
    [registered(Role::Owner), begun("secret"), enabled()]
}

#[test]
fn a_second_factor_is_enabled_with_the_secret_of_its_enrolment() {
    let user = given::<User>([registered(Role::Admin)]).when(begin("secret")).then([begun("secret")]);
    let user = user.when(enable("secret")).then([enabled()]);
    let User::Registered(person) = user.state() else { panic!("registered") };
    let recovery_codes = vec![token("one"), token("two")];
    assert_eq!(person.second_factor, SecondFactor::Enabled { secret: sealed("secret"), recovery_codes });
}

#[test]
fn an_enrolment_that_begins_again_voids_the_former_secret() {
    let user = || given::<User>([registered(Role::Owner), begun("former")]).when(begin("newer"));
    user().then([begun("newer")]).when(enable("former")).then_refused(Refusal::SecondFactorNotBegun);
    user().then([begun("newer")]).when(enable("newer")).then([enabled()]);
    given::<User>([registered(Role::Owner)]).when(enable("x")).then_refused(Refusal::SecondFactorNotBegun);
}

#[test]
fn a_second_factor_in_force_is_not_replaced_by_an_enrolment() {
    given::<User>(with_second_factor()).when(begin("other")).then_refused(Refusal::SecondFactorEnabled);
    given::<User>(with_second_factor()).when(enable("secret")).then_refused(Refusal::SecondFactorEnabled);
}

#[test]
fn owners_and_admins_enrol_a_second_factor() {
    for role in Role::ALL {
        let begin_it = given::<User>([registered(role)]).when(begin("secret"));
        if matches!(role, Role::Owner | Role::Admin) {
            begin_it.then([begun("secret")]);
        } else {
            begin_it.then_refused(Refusal::SecondFactorNotForRole { role });
        }
    }
    let demoted = Fact::RoleChanged { role: Role::Viewer, at: moment(2) };
    given::<User>([registered(Role::Admin), begun("secret"), demoted])
        .when(enable("secret"))
        .then_refused(Refusal::SecondFactorNotForRole { role: Role::Viewer });
}

#[test]
fn a_user_who_gets_another_role_or_is_inactive_keeps_the_second_factor() {
    let demoted = Fact::RoleChanged { role: Role::Viewer, at: moment(3) };
    let inactive = Fact::UserDeactivated { at: moment(3) };
    let user = given::<User>(with_second_factor().into_iter().chain([demoted, inactive]));
    let User::Registered(person) = user.state() else { panic!("registered") };
    assert_eq!((person.role, person.status), (Role::Viewer, UserStatus::Inactive));
    user.when(use_code("one"))
        .then([code_used("one")])
        .when(replace_codes())
        .then([codes_replaced()])
        .when(disable())
        .then([disabled()]);
}

#[test]
fn a_recovery_code_is_used_once() {
    let user = || given::<User>(with_second_factor()).when(use_code("one")).then([code_used("one")]);
    user().when(use_code("one")).then_refused(Refusal::WrongRecoveryCode);
    user().when(use_code("unknown")).then_refused(Refusal::WrongRecoveryCode);
    user().when(use_code("two")).then([code_used("two")]);
}

#[test]
fn new_recovery_codes_void_the_former_ones() {
    let user = || given::<User>(with_second_factor()).when(replace_codes()).then([codes_replaced()]);
    user().when(use_code("one")).then_refused(Refusal::WrongRecoveryCode);
    user().when(use_code("three")).then([code_used("three")]);
}

#[test]
fn what_is_not_enabled_is_neither_used_nor_disabled() {
    for command in [replace_codes(), use_code("one"), disable()] {
        for facts in [
            vec![registered(Role::Owner)],
            vec![registered(Role::Owner), begun("secret")],
            with_second_factor().into_iter().chain([disabled()]).collect(),
        ] {
            given::<User>(facts).when(command.clone()).then_refused(Refusal::SecondFactorNotEnabled);
        }
    }
}

#[test]
fn a_disabled_second_factor_is_enrolled_with_a_new_secret() {
    let user = || given::<User>(with_second_factor()).when(disable()).then([disabled()]);
    user().when(enable("secret")).then_refused(Refusal::SecondFactorNotBegun);
    user().when(begin("newer")).then([begun("newer")]).when(enable("newer")).then([enabled()]);
}

#[test]
fn a_deleted_user_has_no_second_factor() {
    let deleted = Fact::UserDeleted { at: moment(6) };
    let user = || given::<User>(with_second_factor().into_iter().chain([deleted.clone()]));
    assert_eq!(*user().state(), User::Deleted);
    for command in [begin("x"), enable("secret"), replace_codes(), use_code("one"), disable()] {
        user().when(command).then_refused(Refusal::NotRegistered);
    }
}
