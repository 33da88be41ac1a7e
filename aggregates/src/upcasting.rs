//! Reading facts in the forms in which they were once stored.
//!
//! A stored fact is never changed; the form in which it is written may be, and then gets the next version.
//! Whoever reads the log meets every version there ever was, so each step from a version to the next is
//! kept here for ever, and a fact climbs from the version it was stored in to today's before it is parsed.
//! A step works on JSON alone: the types of back then are gone.
//!
//! The first version of a fact needs no entry. To change the form of one: raise its version where
//! `stored_facts!` names it, add the step here, and add the new form to `tests/stored_facts`.

use serde_json::{Map, Value, json};

/// One step: what a fact lacks, or has in another place, in the version after `from`.
struct Step {
    fact: &'static str,
    from: u32,
    climb: fn(&mut Map<String, Value>),
}

/// Every step there ever was.
const STEPS: &[Step] = &[
    // Before there was a choice, everything was kept for ever.
    Step {
        fact: "TenantRegistered",
        from: 1,
        climb: |form| {
            form.insert("retention".to_owned(), json!({ "payloadDays": null, "eventDays": null }));
        },
    },
];

/// How the version of a stored fact compares with the one that is written today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is that one.
    Current,
    /// It is this older one.
    Outdated(u32),
    /// It is none that this program knows.
    Unknown,
}

/// The age of a fact stored in this version. `newest` is the version in which it is written today; a fact
/// that nobody knows (`None`) has no age, and is refused when it is parsed.
#[must_use]
pub fn age(fact: &str, version: &str, newest: Option<u32>) -> Age {
    let Some(newest) = newest else { return Age::Current };
    match version.strip_suffix(".0").and_then(|major| major.parse().ok()) {
        Some(version) if version == newest => Age::Current,
        Some(version) if version < newest && climbs(fact, version, newest) => Age::Outdated(version),
        _ => Age::Unknown,
    }
}

/// Changes the stored form of a fact from `version` into today's.
pub fn upcast(fact: &str, version: u32, form: &mut Value) {
    // The form stands under the fact's name.
    let Some(form) = form.get_mut(fact).and_then(Value::as_object_mut) else { return };
    let mut version = version;
    while let Some(step) = step(fact, version) {
        (step.climb)(form);
        version += 1;
    }
}

/// A version as it is stored beside a fact.
#[must_use]
pub fn written(version: u32) -> String {
    format!("{version}.0")
}

fn step(fact: &str, from: u32) -> Option<&'static Step> {
    STEPS.iter().find(|step| step.fact == fact && step.from == from)
}

fn climbs(fact: &str, from: u32, to: u32) -> bool {
    (from..to).all(|version| step(fact, version).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_as_old_as_its_version_says() {
        let age = |version| age("TenantRegistered", version, Some(2));
        assert_eq!(age("2.0"), Age::Current);
        assert_eq!(age("1.0"), Age::Outdated(1));
        for version in ["0.0", "3.0", "1", "1.1", "", "x", "-1.0", "4294967296.0"] {
            assert_eq!(age(version), Age::Unknown, "{version}");
        }
        assert_eq!(super::age("Nothing", "9.0", None), Age::Current);
    }

    #[test]
    fn a_form_that_is_none_is_left_to_the_parser() {
        for form in [json!(null), json!({}), json!({ "TenantRegistered": 5 }), json!([1])] {
            let mut climbed = form.clone();
            upcast("TenantRegistered", 1, &mut climbed);
            assert_eq!(climbed, form);
        }
    }
}
