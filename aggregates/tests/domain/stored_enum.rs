//! What every stored enum promises, and the names and numbers that are stored today.

use std::collections::HashSet;

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::{AuthType, Stage};
use aggregates::portal_link::PortalAccess;
use aggregates::role::{Role, UserStatus};
use aggregates::stored_enum::StoredEnum;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn assert_stored_as<E: StoredEnum + Serialize + DeserializeOwned>(expected: &[(i16, &str)]) {
    let declared: Vec<_> = E::ALL.iter().map(|variant| (variant.number(), variant.name())).collect();
    assert_eq!(declared, expected, "{}", E::TYPE_NAME);
    let numbers: HashSet<_> = expected.iter().map(|(number, _)| number).collect();
    let names: HashSet<_> = expected.iter().map(|(_, name)| name.to_ascii_lowercase()).collect();
    assert_eq!((numbers.len(), names.len()), (expected.len(), expected.len()), "{}", E::TYPE_NAME);
    for variant in E::ALL.iter().copied() {
        let name = variant.name();
        assert_eq!(E::from_name(name), Some(variant));
        assert_eq!(E::from_name(&name.to_ascii_uppercase()), Some(variant));
        assert_eq!(E::from_number(i64::from(variant.number())), Some(variant));
        assert_eq!(serde_json::to_string(&variant).expect("a name"), format!("{name:?}"));
        assert_eq!(serde_json::from_str::<E>(&format!("{name:?}")).expect("a name"), variant);
    }
    for name in ["", "0", "None", " Admin", "ApiKey ", "Ädmin"] {
        assert_eq!(E::from_name(name), None, "{name:?}");
    }
    for number in [-1, 99, 65_546, i64::MAX, i64::MIN] {
        assert_eq!(E::from_number(number), None, "{number}");
    }
}

#[test]
fn names_and_numbers_are_stored_as_declared() {
    assert_stored_as::<Role>(&[(0, "Developer"), (1, "Admin"), (10, "Owner"), (20, "Viewer")]);
    assert_stored_as::<UserStatus>(&[(0, "Active"), (1, "Inactive")]);
    assert_stored_as::<AuthType>(&[(0, "ApiKey"), (1, "BearerToken"), (2, "JwtBearer"), (3, "BasicAuth")]);
    assert_stored_as::<PortalAccess>(&[(0, "Read"), (1, "Operate")]);
    assert_stored_as::<Stage>(&[(0, "Active"), (1, "Inactive"), (2, "Suspended"), (3, "Probing")]);
    assert_stored_as::<Outcome>(&[
        (0, "succeeded"),
        (1, "refused_status"),
        (2, "timeout"),
        (3, "connect"),
        (4, "tls"),
        (5, "dns"),
        (6, "blocked_address"),
        (7, "token_endpoint"),
        (8, "protocol"),
        (9, "credentials"),
        (10, "unknown"),
        (11, "payload_erased"),
        (12, "not_sent"),
    ]);
}

#[test]
fn a_stored_name_is_read_exactly() {
    let refused = serde_json::from_str::<Role>("\"developer\"").expect_err("another case");
    assert_eq!(
        refused.to_string(),
        "invalid value: string \"developer\", expected the name of a variant of Role at line 1 column 11"
    );
    assert!(serde_json::from_str::<Role>("0").is_err());
}

#[test]
fn descriptions_are_the_doc_comments() {
    assert_eq!(Role::DESCRIPTION, "What a user may do.");
    assert_eq!((Outcome::TYPE_NAME, Outcome::Tls.to_string()), ("Outcome", "tls".to_owned()));
}
