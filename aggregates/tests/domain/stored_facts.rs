//! Facts that were stored once can be read for ever.
//!
//! `tests/stored_facts` holds one file for every version of every fact that was ever written, named
//! `<Aggregate>.<Fact>.v<version>.json`, and further ones where optional fields make a difference
//! (`.v1.minimal.json`). A file is never edited: a fact that changes gets a new version and a new file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aggregates::Facts;
use aggregates::api_key::ApiKey;
use aggregates::claim::Claim;
use aggregates::destination::Destination;
use aggregates::fact::{Fact, UnreadableFact};
use aggregates::invite::Invite;
use aggregates::sender::Sender;
use aggregates::session::Session;
use aggregates::tenant::Tenant;
use aggregates::user::User;
use aggregates::webhook_event::WebhookEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::Value;

use crate::given::stored_form;

struct Stored {
    path: PathBuf,
    aggregate: String,
    name: String,
    version: String,
}

fn corpus() -> Vec<Stored> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored_facts");
    let mut corpus: Vec<_> = fs::read_dir(folder)
        .expect("the folder of stored facts")
        .map(|entry| {
            let path = entry.expect("a file").path();
            let file = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            let mut parts = file.split('.');
            let mut part =
                || parts.next().unwrap_or_else(|| panic!("{file} has too short a name")).to_owned();
            let (aggregate, name, version) = (part(), part(), part());
            assert_eq!(parts.next_back(), Some("json"), "{file} is no stored fact");
            Stored { path, aggregate, name, version }
        })
        .collect();
    corpus.sort_by(|one, other| one.path.cmp(&other.path));
    corpus
}

/// Every fact that can be written today, as aggregate and name.
fn every_fact() -> BTreeSet<(&'static str, &'static str)> {
    fn of<A: Aggregate<Event: Facts>>() -> impl Iterator<Item = (&'static str, &'static str)> {
        A::Event::NAMES.iter().map(|name| (A::TYPE, *name))
    }
    of::<ApiKey>()
        .chain(of::<Claim>())
        .chain(of::<Destination>())
        .chain(of::<Invite>())
        .chain(of::<Sender>())
        .chain(of::<Session>())
        .chain(of::<Tenant>())
        .chain(of::<User>())
        .chain(of::<WebhookEvent>())
        .collect()
}

/// What the fact says of itself when it is written.
fn name_and_version(fact: &Fact) -> (String, String) {
    fn of(fact: &impl DomainEvent) -> (String, String) {
        (fact.event_type(), fact.event_version())
    }
    match fact {
        Fact::ApiKey(fact) => of(fact),
        Fact::Claim(fact) => of(fact),
        Fact::Destination(fact) => of(fact),
        Fact::Invite(fact) => of(fact),
        Fact::Sender(fact) => of(fact),
        Fact::Session(fact) => of(fact),
        Fact::Tenant(fact) => of(fact),
        Fact::User(fact) => of(fact),
        Fact::WebhookEvent(fact) => of(fact),
    }
}

#[test]
fn every_stored_fact_is_read_and_written_back_as_it_was() {
    for Stored { path, aggregate, name, version } in corpus() {
        let stored = fs::read_to_string(&path).expect("a stored fact");
        let fact = Fact::read(&aggregate, &stored)
            .unwrap_or_else(|error| panic!("{} cannot be read any more: {error:?}", path.display()));
        let value: Value = serde_json::from_str(&stored).expect("JSON");
        assert_eq!(stored_form(&fact), value, "{} is written differently now", path.display());
        assert_eq!(name_and_version(&fact), (name, format!("{}.0", &version[1..])), "{}", path.display());
    }
}

#[test]
fn no_fact_lacks_its_stored_form() {
    let corpus = corpus();
    let stored: BTreeSet<(&str, &str)> =
        corpus.iter().map(|stored| (stored.aggregate.as_str(), stored.name.as_str())).collect();
    let missing: Vec<_> = every_fact().into_iter().filter(|fact| !stored.contains(fact)).collect();
    assert!(missing.is_empty(), "stored forms are missing: {missing:?}");
}

/// Names are shown to auditors and asked for by them: no two facts may share one.
#[test]
fn no_two_facts_share_a_name() {
    let mut names = BTreeSet::new();
    for (aggregate, name) in every_fact() {
        assert!(names.insert(name), "{name} of {aggregate} has a namesake");
    }
}

#[test]
fn what_is_no_fact_is_refused_with_its_reason() {
    let unknown = Fact::read("Gadget", "{}").expect_err("no such aggregate");
    assert!(matches!(unknown, UnreadableFact::UnknownAggregate(name) if name == "Gadget"));
    for stored in
        ["", "{}", "null", r#"{"ApiKeyRevoked":{}}"#, r#"{"ClaimReleased":{"at":"2026-07-03T14:32:00Z"}}"#]
    {
        let malformed = Fact::read("ApiKey", stored).expect_err(stored);
        assert!(matches!(malformed, UnreadableFact::Malformed { aggregate: "ApiKey", .. }), "{stored}");
    }
}
