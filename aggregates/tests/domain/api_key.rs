//! API keys: issue and revocation.

use aggregates::api_key::{ApiKey, ApiKeyCommand, ApiKeyFact, ApiKeyRefusal};

use crate::given::{ACME, given, moment, token};

fn issue() -> ApiKeyCommand {
    ApiKeyCommand::Issue { tenant_id: ACME, name: "CI".to_owned(), key_hash: token("key"), at: moment(0) }
}

fn issued() -> ApiKeyFact {
    ApiKeyFact::ApiKeyIssued { tenant_id: ACME, name: "CI".to_owned(), key_hash: token("key"), at: moment(0) }
}

fn revoke() -> ApiKeyCommand {
    ApiKeyCommand::Revoke { at: moment(1) }
}

fn revoked() -> ApiKeyFact {
    ApiKeyFact::ApiKeyRevoked { at: moment(1) }
}

#[test]
fn a_key_is_issued_with_its_hash_only() {
    given::<ApiKey>([]).when(issue()).then([issued()]);
}

#[test]
fn a_key_is_not_issued_twice_even_after_revocation() {
    given::<ApiKey>([issued()]).when(issue()).then_refused(ApiKeyRefusal::AlreadyIssued);
    given::<ApiKey>([issued(), revoked()]).when(issue()).then_refused(ApiKeyRefusal::AlreadyIssued);
}

#[test]
fn an_active_key_is_revoked() {
    let revoked = given::<ApiKey>([issued()]).when(revoke()).then([revoked()]);
    assert_eq!(*revoked.state(), ApiKey::Revoked(ACME));
}

#[test]
fn a_revoked_or_unknown_key_cannot_be_revoked() {
    given::<ApiKey>([issued(), revoked()]).when(revoke()).then_refused(ApiKeyRefusal::NotActive);
    given::<ApiKey>([]).when(revoke()).then_refused(ApiKeyRefusal::NotActive);
}
