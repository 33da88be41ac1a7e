//! Names and numbers of roles and states, as clients send them.

use aggregates::role::{Role, UserStatus};

#[test]
fn a_role_has_a_name_and_a_number() {
    for (role, name, number) in [
        (Role::Developer, "Developer", 0),
        (Role::Admin, "Admin", 1),
        (Role::Owner, "Owner", 10),
        (Role::Viewer, "Viewer", 20),
    ] {
        assert_eq!((role.name(), role.number()), (name, number));
        assert_eq!(Role::from_name(name), Some(role));
        assert_eq!(Role::from_name(&name.to_uppercase()), Some(role));
        assert_eq!(Role::from_number(i64::from(number)), Some(role));
        assert!(Role::ALL.contains(&role));
    }
    assert_eq!(Role::ALL.len(), 4);
}

#[test]
fn a_status_has_a_name_and_a_number() {
    for (status, name, number) in [(UserStatus::Active, "Active", 0), (UserStatus::Inactive, "Inactive", 1)] {
        assert_eq!((status.name(), status.number()), (name, number));
        assert_eq!(UserStatus::from_name(&name.to_lowercase()), Some(status));
        assert_eq!(UserStatus::from_number(i64::from(number)), Some(status));
    }
}

#[test]
fn anything_else_is_no_role_and_no_status() {
    for name in ["", "Root", " Admin", "0", "Ädmin"] {
        assert_eq!(Role::from_name(name), None, "{name:?}");
        assert_eq!(UserStatus::from_name(name), None, "{name:?}");
    }
    for number in [-1, 2, 11, 65_546, i64::MAX, i64::MIN] {
        assert_eq!(Role::from_number(number), None, "{number}");
        assert_eq!(UserStatus::from_number(number), None, "{number}");
    }
}
