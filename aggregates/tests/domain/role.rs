//! Which user may create, change or delete which other user.

use Role::{Admin, Developer, Owner, Viewer};
use aggregates::role::{Role, RoleRefusal, UserChange};

const STATUS: UserChange = UserChange { role: None, status: true, credentials: false };
const CREDENTIALS: UserChange = UserChange { role: None, status: false, credentials: true };

fn role(role: Role) -> UserChange {
    UserChange { role: Some(role), ..UserChange::default() }
}

/// Roles of the targets that are allowed for each role of the acting user.
#[test]
fn an_owner_manages_every_user_and_an_admin_those_who_manage_no_one() {
    for (by, managed, deletable) in [
        (Viewer, vec![], vec![]),
        (Developer, vec![], vec![]),
        (Admin, vec![Developer, Viewer], vec![Developer, Admin, Viewer]),
        (Owner, Role::ALL.to_vec(), Role::ALL.to_vec()),
    ] {
        let targets = |allowed: &dyn Fn(Role) -> bool| -> Vec<_> {
            Role::ALL.into_iter().filter(|target| allowed(*target)).collect()
        };
        assert_eq!(targets(&|target| by.check_create(target).is_ok()), managed, "{by}");
        assert_eq!(targets(&|target| by.check_delete(target).is_ok()), deletable, "{by}");
        for change in [STATUS, CREDENTIALS] {
            assert_eq!(targets(&|target| by.check_change(target, false, change).is_ok()), managed, "{by}");
        }
    }
}

#[test]
fn a_user_gives_only_managed_users_only_roles_that_the_user_manages() {
    for by in Role::ALL {
        for target in Role::ALL {
            for given in Role::ALL {
                let expected = match by {
                    Owner => true,
                    Admin => [target, given].iter().all(|role| matches!(role, Developer | Viewer)),
                    Developer | Viewer => false,
                };
                assert_eq!(
                    by.check_change(target, false, role(given)).is_ok(),
                    expected,
                    "{by} {target} {given}"
                );
            }
            assert_eq!(by.check_change(target, false, UserChange::default()), Ok(()), "{by} {target}");
        }
    }
}

#[test]
fn users_change_their_own_credentials_but_only_an_owner_the_own_status_and_role() {
    for by in Role::ALL {
        assert_eq!(by.check_change(by, true, CREDENTIALS), Ok(()), "{by}");
        assert_eq!(by.check_change(by, true, STATUS).is_ok(), by == Owner, "{by}");
        for given in Role::ALL {
            assert_eq!(by.check_change(by, true, role(given)).is_ok(), by == Owner, "{by} {given}");
        }
    }
}

#[test]
fn a_refusal_names_the_first_part_that_is_not_allowed() {
    let everything = UserChange { role: Some(Owner), status: true, credentials: true };
    let refused = |is_self| Developer.check_change(Developer, is_self, everything).expect_err("a refusal");
    assert_eq!(refused(false), RoleRefusal::ChangeCredentials { by: Developer });
    assert_eq!(refused(true), RoleRefusal::ChangeStatus { by: Developer });
    let refused = Admin.check_change(Viewer, false, everything).expect_err("a refusal");
    assert_eq!(refused.to_string(), "the role Admin may not make this user Owner");
}

#[test]
fn an_owner_removes_the_second_factors_of_others() {
    assert_eq!(Owner.check_remove_second_factor(false), Ok(()));
    assert_eq!(Owner.check_remove_second_factor(true), Err(RoleRefusal::RemoveOwnSecondFactor));
    for by in [Viewer, Developer, Admin] {
        for is_self in [false, true] {
            assert_eq!(
                by.check_remove_second_factor(is_self),
                Err(RoleRefusal::RemoveSecondFactor { by }),
                "{by}"
            );
        }
    }
}
