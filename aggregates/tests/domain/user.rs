//! Users: registration, changes, refused logins and deletion.

use aggregates::role::{Role, UserStatus};
use aggregates::user::{User, UserCommand as Command, UserFact as Fact, UserRefusal as Refusal};

use crate::given::{ACME, given, moment};

fn register() -> Command {
    Command::Register {
        tenant_id: ACME,
        email_hmac_sha256: "first".to_owned(),
        role: Role::Developer,
        at: moment(0),
    }
}

fn registered() -> Fact {
    Fact::UserRegistered {
        tenant_id: ACME,
        email_hmac_sha256: Some("first".to_owned()),
        role: Role::Developer,
        at: moment(0),
    }
}

fn change_email() -> Command {
    Command::ChangeEmail { email_hmac_sha256: "second".to_owned(), at: moment(1) }
}

fn change_password() -> Command {
    Command::ChangePassword { at: moment(1) }
}

fn change_role(role: Role) -> Command {
    Command::ChangeRole { role, at: moment(1) }
}

fn change_status(status: UserStatus) -> Command {
    Command::ChangeStatus { status, at: moment(1) }
}

fn delete() -> Command {
    Command::Delete { at: moment(2) }
}

fn deleted() -> Fact {
    Fact::UserDeleted { at: moment(2) }
}

fn refuse_login() -> Command {
    Command::RefuseLogin { at: moment(3) }
}

fn login_refused() -> Fact {
    Fact::LoginRefused { at: moment(3) }
}

#[test]
fn a_user_is_active_when_registered() {
    let user = given::<User>([]).when(register()).then([registered()]);
    let User::Registered(person) = user.state() else { panic!("registered") };
    assert_eq!((person.role, person.status), (Role::Developer, UserStatus::Active));
}

#[test]
fn a_user_is_not_registered_twice_even_after_deletion() {
    given::<User>([registered()]).when(register()).then_refused(Refusal::AlreadyRegistered);
    given::<User>([registered(), deleted()]).when(register()).then_refused(Refusal::AlreadyRegistered);
}

#[test]
fn every_email_is_recorded() {
    let changed = Fact::EmailChanged { email_hmac_sha256: Some("second".to_owned()), at: moment(1) };
    given::<User>([registered()])
        .when(change_email())
        .then([changed.clone()])
        .when(change_email())
        .then([changed]);
}

#[test]
fn every_password_is_recorded() {
    let changed = Fact::PasswordChanged { at: moment(1) };
    given::<User>([registered()])
        .when(change_password())
        .then([changed.clone()])
        .when(change_password())
        .then([changed]);
}

#[test]
fn the_current_role_is_ignored() {
    let changed = Fact::RoleChanged { role: Role::Viewer, at: moment(1) };
    given::<User>([registered()])
        .when(change_role(Role::Developer))
        .then_nothing()
        .when(change_role(Role::Viewer))
        .then([changed])
        .when(change_role(Role::Viewer))
        .then_nothing();
}

#[test]
fn a_user_is_deactivated_and_activated() {
    given::<User>([registered()])
        .when(change_status(UserStatus::Active))
        .then_nothing()
        .when(change_status(UserStatus::Inactive))
        .then([Fact::UserDeactivated { at: moment(1) }])
        .when(change_status(UserStatus::Inactive))
        .then_nothing()
        .when(change_status(UserStatus::Active))
        .then([Fact::UserActivated { at: moment(1) }]);
}

#[test]
fn the_last_deactivation_is_remembered_after_an_activation() {
    let deactivated = |at| Fact::UserDeactivated { at: moment(at) };
    let activated = Fact::UserActivated { at: moment(4) };
    let user = given::<User>([registered(), deactivated(1), activated.clone(), deactivated(3), activated]);
    let User::Registered(person) = user.state() else { panic!("registered") };
    assert_eq!((person.status, person.deactivated_at), (UserStatus::Active, Some(moment(3))));
}

#[test]
fn an_inactive_user_can_be_changed_and_deleted() {
    given::<User>([registered(), Fact::UserDeactivated { at: moment(1) }])
        .when(change_role(Role::Admin))
        .then([Fact::RoleChanged { role: Role::Admin, at: moment(1) }])
        .when(change_status(UserStatus::Inactive))
        .then_nothing()
        .when(delete())
        .then([deleted()]);
}

#[test]
fn every_refused_login_is_recorded_and_changes_nothing_else() {
    let before = given::<User>([registered()]);
    let after = given::<User>([registered()])
        .when(refuse_login())
        .then([login_refused()])
        .when(refuse_login())
        .then([login_refused()]);
    assert_eq!(after.state(), before.state());
}

#[test]
fn an_unknown_or_deleted_user_refuses_every_other_command() {
    for command in [
        change_email(),
        change_password(),
        change_role(Role::Admin),
        change_status(UserStatus::Inactive),
        delete(),
        refuse_login(),
    ] {
        given::<User>([]).when(command.clone()).then_refused(Refusal::NotRegistered);
        given::<User>([registered(), deleted()]).when(command).then_refused(Refusal::NotRegistered);
    }
}

#[test]
fn the_personal_data_of_a_deleted_user_is_erased_once() {
    let erase = || Command::ErasePersonalData { reason: "a request".to_owned(), at: moment(4) };
    let erased = Fact::PersonalDataErased { reason: "a request".to_owned(), at: moment(4) };
    given::<User>([]).when(erase()).then_refused(Refusal::NotRegistered);
    given::<User>([registered()]).when(erase()).then_refused(Refusal::NotDeleted);
    given::<User>([registered(), deleted()])
        .when(erase())
        .then([erased.clone()])
        .when(erase())
        .then_nothing();
    given::<User>([registered(), deleted(), erased.clone()])
        .when(register())
        .then_refused(Refusal::AlreadyRegistered);
    given::<User>([registered(), deleted(), erased]).when(delete()).then_refused(Refusal::NotRegistered);
}
