//! Names of the kinds of credentials.

use aggregates::destination::AuthType;

#[test]
fn a_kind_of_credentials_is_found_by_its_name_in_any_case() {
    for auth in AuthType::ALL {
        assert_eq!(AuthType::from_name(auth.name()), Some(auth));
        assert_eq!(AuthType::from_name(&auth.name().to_lowercase()), Some(auth));
        assert_eq!(serde_json::to_value(auth).expect("a name"), auth.name());
    }
    for name in ["", "0", "None", "Bearer", "ApiKey "] {
        assert_eq!(AuthType::from_name(name), None, "{name:?}");
    }
}
