//! Configuration in force at an attempt.

use std::collections::{BTreeMap, BTreeSet};

use aggregates::configuration::{DestinationConfiguration, SigningConfiguration};
use aggregates::destination::{AuthType, DestinationFact, OutboundAuth};
use aggregates::sealed::Fingerprint;
use aggregates::tenant::{Resilience, Retention, TenantFact, WebhookSecret};
use aggregates::{Facts, destination, tenant};
use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};

use crate::given::{ACME, ALICE, moment, sealed, token};

fn destination_facts() -> Vec<DestinationFact> {
    use DestinationFact as Fact;
    let at = moment(0);
    let auth = OutboundAuth { auth_type: AuthType::BasicAuth, credentials: sealed("credentials") };
    vec![
        Fact::DestinationRegistered {
            tenant_id: ACME,
            url: "https://a.example/".to_owned(),
            concurrency_limit: 5,
            ingest_token_hash: token("t"),
            at,
        },
        Fact::OutboundAuthConfigured { auth, at },
        Fact::DestinationSuspended { consecutive_failures: 5, next_check_at: at, at },
        Fact::DestinationUrlChanged { url: "https://b.example/".to_owned(), at },
        Fact::ConcurrencyLimitChanged { concurrency_limit: 7, at },
        Fact::OutboundAuthRemoved { at },
    ]
}

fn numbered<F>(facts: Vec<F>) -> impl Iterator<Item = (u64, F)> {
    (1..).zip(facts)
}

fn secret(name: &str) -> WebhookSecret {
    WebhookSecret { sealed: sealed(name), fingerprint: Fingerprint(name.to_owned()) }
}

fn regenerated(name: &str, previous_signs_until: Option<DateTime<Utc>>) -> TenantFact {
    TenantFact::WebhookSecretRegenerated { webhook_secret: secret(name), previous_signs_until, at: moment(1) }
}

#[test]
fn the_configuration_of_a_destination_is_returned_for_every_version() {
    let versions = BTreeSet::from([1, 3, 4, 6]);
    let found = DestinationConfiguration::at_versions(numbered(destination_facts()), &versions);
    let of = |url: &str, concurrency_limit, auth_type| DestinationConfiguration {
        url: url.to_owned(),
        concurrency_limit,
        auth_type,
    };
    let (a, b) = ("https://a.example/", "https://b.example/");
    assert_eq!(
        found,
        BTreeMap::from([
            (1, of(a, 5, None)),
            (3, of(a, 5, Some(AuthType::BasicAuth))),
            (4, of(b, 5, Some(AuthType::BasicAuth))),
            (6, of(b, 7, None)),
        ])
    );
}

#[test]
fn facts_without_effect_may_be_omitted() {
    let versions: BTreeSet<u64> = (1..=6).collect();
    let all = DestinationConfiguration::at_versions(numbered(destination_facts()), &versions);
    let some = numbered(destination_facts())
        .filter(|(_, fact)| DestinationConfiguration::FACTS.contains(&fact.event_type().as_str()));
    assert_eq!(DestinationConfiguration::at_versions(some, &versions), all);
}

#[test]
fn before_its_first_fact_nothing_is_in_force() {
    let facts = numbered(destination_facts()).skip(1);
    assert_eq!(DestinationConfiguration::at_versions(facts, &BTreeSet::from([6])), BTreeMap::new());
    assert_eq!(SigningConfiguration::at_versions([], &BTreeSet::from([1])), BTreeMap::new());
}

#[test]
fn a_replaced_secret_signs_until_the_overlap_ends() {
    let registered = TenantFact::TenantRegistered {
        name: "Acme".to_owned(),
        owner: ALICE,
        resilience: Resilience::default(),
        retention: Retention::default(),
        webhook_secret: secret("first"),
        at: moment(0),
    };
    let renamed = TenantFact::TenantRenamed { name: "Acme Ltd".to_owned(), at: moment(1) };
    let facts =
        vec![registered, regenerated("second", Some(moment(60))), renamed, regenerated("third", None)];
    let found = SigningConfiguration::at_versions(numbered(facts), &(1..=4).collect());
    let signers = |version: u64, seconds: i64| -> Vec<&str> {
        found[&version].signers(moment(seconds)).into_iter().map(|print| print.0.as_str()).collect()
    };
    assert_eq!(signers(1, 0), ["first"]);
    assert_eq!(signers(2, 59), ["second", "first"]);
    assert_eq!(signers(2, 60), ["second"]);
    assert_eq!(signers(3, 59), ["second", "first"]);
    assert_eq!(signers(4, 59), ["third"]);
}

#[test]
fn the_listed_facts_exist() {
    let known = |names: &[&str], name: &str| names.contains(&name);
    for name in DestinationConfiguration::FACTS {
        assert!(known(<destination::Destination as Aggregate>::Event::NAMES, name), "{name}");
    }
    for name in SigningConfiguration::FACTS {
        assert!(known(<tenant::Tenant as Aggregate>::Event::NAMES, name), "{name}");
    }
}
