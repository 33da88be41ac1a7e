//! Every fact that was ever stored can still be read.
//!
//! `tests/stored_facts` contains one file for each version of each fact, named `<Aggregate>.<Fact>.v<version>.json`,
//! and more where optional fields make a difference (`.v1.minimal.json`). A file is never edited: a fact whose form
//! changes gets a new version, a new file, and a conversion to it in `upcasting.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aggregates::Facts;
use aggregates::access::Access;
use aggregates::api_key::ApiKey;
use aggregates::bulk_action::BulkAction;
use aggregates::destination::Destination;
use aggregates::erasure::Erasure;
use aggregates::fact::{Fact, StoredFact, UnreadableFact};
use aggregates::installation::Installation;
use aggregates::invite::Invite;
use aggregates::legal_hold::LegalHold;
use aggregates::portal_link::PortalLink;
use aggregates::reservation::Reservation;
use aggregates::sender::Sender;
use aggregates::session::Session;
use aggregates::tenant::{Retention, Tenant, TenantFact};
use aggregates::user::User;
use aggregates::webhook_event::WebhookEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fields;
use crate::given::stored_form;

struct Stored {
    path: PathBuf,
    aggregate: String,
    name: String,
    version: u32,
}

impl Stored {
    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("a stored fact")
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    fn read(&self) -> Result<Fact, UnreadableFact> {
        read(&self.aggregate, &self.name, &format!("{}.0", self.version), &self.text())
    }
}

fn read(aggregate: &str, name: &str, version: &str, payload: &str) -> Result<Fact, UnreadableFact> {
    Fact::read(StoredFact { aggregate_type: aggregate, event_type: name, event_version: version, payload })
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
            let version = version.strip_prefix('v').and_then(|version| version.parse().ok());
            let version = version.unwrap_or_else(|| panic!("{file} has no version"));
            Stored { path, aggregate, name, version }
        })
        .collect();
    corpus.sort_by(|one, other| one.path.cmp(&other.path));
    corpus
}

/// Returns aggregate, name and current version of every fact.
fn every_fact() -> BTreeMap<(&'static str, &'static str), u32> {
    fn of<A: Aggregate<Event: Facts>>() -> impl Iterator<Item = ((&'static str, &'static str), u32)> {
        A::Event::NAMES
            .iter()
            .map(|name| ((A::TYPE, *name), A::Event::version_of(name).expect("a fact that is written")))
    }
    of::<Access>()
        .chain(of::<ApiKey>())
        .chain(of::<BulkAction>())
        .chain(of::<Reservation>())
        .chain(of::<Destination>())
        .chain(of::<Erasure>())
        .chain(of::<Installation>())
        .chain(of::<Invite>())
        .chain(of::<LegalHold>())
        .chain(of::<PortalLink>())
        .chain(of::<Sender>())
        .chain(of::<Session>())
        .chain(of::<Tenant>())
        .chain(of::<User>())
        .chain(of::<WebhookEvent>())
        .collect()
}

/// Returns the name and version with which a fact is written.
fn name_and_version(fact: &Fact) -> (String, String) {
    fn of(fact: &impl DomainEvent) -> (String, String) {
        (fact.event_type(), fact.event_version())
    }
    match fact {
        Fact::Access(fact) => of(fact),
        Fact::ApiKey(fact) => of(fact),
        Fact::BulkAction(fact) => of(fact),
        Fact::Reservation(fact) => of(fact),
        Fact::Destination(fact) => of(fact),
        Fact::Erasure(fact) => of(fact),
        Fact::Installation(fact) => of(fact),
        Fact::Invite(fact) => of(fact),
        Fact::LegalHold(fact) => of(fact),
        Fact::PortalLink(fact) => of(fact),
        Fact::Sender(fact) => of(fact),
        Fact::Session(fact) => of(fact),
        Fact::Tenant(fact) => of(fact),
        Fact::User(fact) => of(fact),
        Fact::WebhookEvent(fact) => of(fact),
    }
}

#[test]
fn every_version_of_every_fact_is_read_and_written_as_the_current_one() {
    let newest = every_fact();
    // An optional field may be absent in some of the stored forms of a version.
    let mut differs: BTreeMap<(String, String, u32), bool> = BTreeMap::new();
    for stored in corpus() {
        let path = stored.path.display();
        let fact = stored.read().unwrap_or_else(|error| panic!("{path} cannot be read any more: {error:?}"));
        let newest = newest[&(stored.aggregate.as_str(), stored.name.as_str())];
        assert_eq!(name_and_version(&fact), (stored.name.clone(), format!("{newest}.0")), "{path}");
        if stored.version == newest {
            assert_eq!(stored_form(&fact), stored.value(), "{path} is written differently now");
        } else {
            let written = stored_form(&fact);
            let version = (stored.aggregate.clone(), stored.name.clone(), stored.version);
            *differs.entry(version).or_default() |= written != stored.value();
            let again = read(&stored.aggregate, &stored.name, &format!("{newest}.0"), &written.to_string());
            assert_eq!(again.expect("what is written can be read"), fact, "{path}");
        }
    }
    let equal: Vec<_> =
        differs.iter().filter(|(_, differs)| !**differs).map(|(version, _)| version).collect();
    assert!(equal.is_empty(), "these need no version of their own: {equal:?}");
}

#[test]
fn no_version_of_a_fact_lacks_its_stored_form() {
    let stored: BTreeSet<(String, String, u32)> =
        corpus().into_iter().map(|stored| (stored.aggregate, stored.name, stored.version)).collect();
    let known = every_fact().into_iter().flat_map(|((aggregate, name), newest)| {
        (1..=newest).map(move |version| (aggregate.to_owned(), name.to_owned(), version))
    });
    assert_eq!(stored, known.collect());
}

/// A new field that is omitted when empty changes no existing file, so its version would not be recorded. Each field
/// has to appear in some stored form.
#[test]
fn no_field_of_a_fact_is_missing_in_its_stored_forms() {
    let newest = every_fact();
    let mut fields: BTreeMap<(String, String), bool> = BTreeMap::new();
    for stored in corpus() {
        let fact = (stored.aggregate.as_str(), stored.name.as_str());
        if stored.version != newest[&fact] {
            continue;
        }
        for (field, is_there) in fields_of(&stored.aggregate, &stored.value()) {
            *fields.entry((stored.name.clone(), field)).or_default() |= is_there;
        }
    }
    assert!(fields.len() > newest.len());
    let missing: Vec<_> =
        fields.into_iter().filter(|(_, is_there)| !is_there).map(|(field, _)| field).collect();
    assert!(missing.is_empty(), "no stored form shows {missing:?}");
}

fn fields_of(aggregate: &str, form: &Value) -> Vec<(String, bool)> {
    fn of<A: Aggregate<Event: DeserializeOwned>>(form: &Value) -> Vec<(String, bool)> {
        fields::of::<A::Event>(form)
    }
    match aggregate {
        Access::TYPE => of::<Access>(form),
        ApiKey::TYPE => of::<ApiKey>(form),
        BulkAction::TYPE => of::<BulkAction>(form),
        Reservation::TYPE => of::<Reservation>(form),
        Destination::TYPE => of::<Destination>(form),
        Erasure::TYPE => of::<Erasure>(form),
        Installation::TYPE => of::<Installation>(form),
        Invite::TYPE => of::<Invite>(form),
        LegalHold::TYPE => of::<LegalHold>(form),
        PortalLink::TYPE => of::<PortalLink>(form),
        Sender::TYPE => of::<Sender>(form),
        Session::TYPE => of::<Session>(form),
        Tenant::TYPE => of::<Tenant>(form),
        User::TYPE => of::<User>(form),
        WebhookEvent::TYPE => of::<WebhookEvent>(form),
        unknown => panic!("{unknown}"),
    }
}

#[test]
fn tenants_registered_before_retention_keep_everything() {
    let old = corpus().into_iter().find(|stored| stored.name == "TenantRegistered" && stored.version == 1);
    let Fact::Tenant(fact) = old.expect("a stored form").read().expect("a fact") else { panic!("a tenant") };
    let TenantFact::TenantRegistered { name, retention, .. } = fact else { panic!("{fact:?}") };
    assert_eq!((name.as_str(), retention), ("Acme Inc", Retention::default()));
}

#[test]
fn facts_of_unknown_versions_are_refused() {
    for stored in corpus() {
        for version in ["0.0", "99.0", "1.5", ""] {
            let unknown = read(&stored.aggregate, &stored.name, version, &stored.text());
            assert!(
                matches!(unknown, Err(UnreadableFact::UnknownVersion { .. })),
                "{} in version {version:?}",
                stored.path.display()
            );
        }
    }
}

/// Auditors see names and filter by them, so they must be unique.
#[test]
fn no_two_facts_share_a_name() {
    let mut names = BTreeSet::new();
    for ((aggregate, name), _) in every_fact() {
        assert!(names.insert(name), "{name} of {aggregate} is not unique");
    }
}

#[test]
fn malformed_facts_are_refused_with_the_reason() {
    let unknown = read("Gadget", "Wound", "1.0", "{}").expect_err("no such aggregate");
    assert!(matches!(unknown, UnreadableFact::UnknownAggregate(name) if name == "Gadget"));
    for stored in [
        "",
        "{}",
        "null",
        r#"{"ApiKeyRevoked":{}}"#,
        r#"{"ReservationReleased":{"at":"2026-07-03T14:32:00Z"}}"#,
    ] {
        let malformed = read("ApiKey", "ApiKeyRevoked", "1.0", stored).expect_err(stored);
        assert!(matches!(malformed, UnreadableFact::Malformed { aggregate: "ApiKey", .. }), "{stored}");
    }
}
