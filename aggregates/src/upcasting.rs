//! Reading of facts in older versions of their stored form ("upcasting").
//!
//! A stored fact never changes. The form in which new facts are written may change, and then has the next version.
//! Every reader of the log meets facts of all versions, so the conversion from each version to the next is kept here
//! permanently. A fact is converted step by step to the current version before it is parsed. A conversion works on
//! JSON only, since the types of older versions no longer exist.
//!
//! The first version of a fact needs no entry. To change the form of a fact: raise its version where `stored_facts!`
//! lists it, add the conversion to [`CONVERSIONS`], and add the new form to `tests/stored_facts`.

use serde_json::{Map, Value, json};

/// Conversion of the stored form of one fact from version `from` to the next.
struct Conversion {
    fact: &'static str,
    from: u32,
    convert: fn(&mut Map<String, Value>),
}

const CONVERSIONS: &[Conversion] = &[
    // What a receiver answered is kept outside the log, where it can be erased.
    Conversion {
        fact: "DeliveryAttempted",
        from: 1,
        convert: |form| {
            if let Some(report) = object_at(form, &["report"]) {
                report.remove("responseHeaders");
                report.remove("responseExcerpt");
            }
        },
    },
    // Before the time limit of an attempt was recorded, nearly every installation used the default.
    Conversion {
        fact: "DeliveryStarted",
        from: 1,
        convert: |form| {
            form.insert("timeoutMs".to_owned(), json!(30_000));
        },
    },
    // The email address is kept outside the log, where it can be erased.
    Conversion { fact: "EmailChanged", from: 1, convert: remove_email },
    // A digest without salt is no commitment: a reader of the log can guess the payload and check the guess.
    Conversion {
        fact: "EventAccepted",
        from: 1,
        convert: |form| {
            for path in [["payload"].as_slice(), &["mapping", "applied"]] {
                if let Some(payload) = object_at(form, path) {
                    payload.remove("sha256");
                    payload.insert("hmacSha256".to_owned(), json!(null));
                }
            }
        },
    },
    // The idempotency key is kept with the payload, where it can be erased.
    Conversion {
        fact: "EventAccepted",
        from: 2,
        convert: |form| {
            form.remove("idempotencyKey");
        },
    },
    // The metadata of the fact has the user, which the fact itself did not.
    Conversion {
        fact: "InviteIssued",
        from: 1,
        convert: |form| {
            form.insert("issuedBy".to_owned(), json!(null));
        },
    },
    // It is unknown which password an earlier session was opened with, so it has ended: version 0 is before every other.
    Conversion {
        fact: "LoggedIn",
        from: 1,
        convert: |form| {
            form.insert("credentialsVersion".to_owned(), json!(0));
            form.insert("tokenFamilyHash".to_owned(), json!(""));
        },
    },
    // The hash is kept outside the log, where it can be erased.
    Conversion {
        fact: "PasswordChanged",
        from: 1,
        convert: |form| {
            form.remove("passwordHash");
        },
    },
    // Before tenants could choose a retention, everything was kept permanently.
    Conversion {
        fact: "TenantRegistered",
        from: 1,
        convert: |form| {
            form.insert("retention".to_owned(), json!({ "payloadDays": null, "eventDays": null }));
        },
    },
    // Email address and hash are kept outside the log, where they can be erased.
    Conversion {
        fact: "UserRegistered",
        from: 1,
        convert: |form| {
            form.remove("passwordHash");
            remove_email(form);
        },
    },
];

/// Version of a stored fact, compared with the version in which such facts are written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredVersion {
    Current,
    Older(u32),
    /// This version of the program cannot read it.
    Unknown,
}

/// Compares the version of a stored fact with `newest`, the version in which it is written now. For a fact of
/// unknown name (`None`) the result is `Current`; parsing refuses it.
#[must_use]
pub fn compare_version(fact: &str, version: &str, newest: Option<u32>) -> StoredVersion {
    let Some(newest) = newest else { return StoredVersion::Current };
    match version.strip_suffix(".0").and_then(|major| major.parse().ok()) {
        Some(version) if version == newest => StoredVersion::Current,
        Some(version)
            if version < newest && (version..newest).all(|from| conversion(fact, from).is_some()) =>
        {
            StoredVersion::Older(version)
        }
        _ => StoredVersion::Unknown,
    }
}

/// Converts the stored form of a fact from `version` to the current version.
pub fn upcast(fact: &str, version: u32, form: &mut Value) {
    // The form is an object with one property, named like the fact.
    let Some(form) = form.get_mut(fact).and_then(Value::as_object_mut) else { return };
    let mut version = version;
    while let Some(conversion) = conversion(fact, version) {
        (conversion.convert)(form);
        version += 1;
    }
}

fn remove_email(form: &mut Map<String, Value>) {
    form.remove("email");
    form.insert("emailHmacSha256".to_owned(), json!(null));
}

/// Returns the object under those names, one within the other.
fn object_at<'a>(form: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(form, |object, name| object.get_mut(*name)?.as_object_mut())
}

/// Formats a version as it is stored with a fact, such as `1.0`.
#[must_use]
pub fn format_version(version: u32) -> String {
    format!("{version}.0")
}

fn conversion(fact: &str, from: u32) -> Option<&'static Conversion> {
    CONVERSIONS.iter().find(|conversion| conversion.fact == fact && conversion.from == from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_with_the_newest() {
        let compare = |version| compare_version("TenantRegistered", version, Some(2));
        assert_eq!(compare("2.0"), StoredVersion::Current);
        assert_eq!(compare("1.0"), StoredVersion::Older(1));
        for version in ["0.0", "3.0", "1", "1.1", "", "x", "-1.0", "4294967296.0"] {
            assert_eq!(compare(version), StoredVersion::Unknown, "{version}");
        }
        assert_eq!(compare_version("Nothing", "9.0", None), StoredVersion::Current);
    }

    #[test]
    fn a_malformed_fact_is_left_to_the_parser() {
        for form in [json!(null), json!({}), json!({ "TenantRegistered": 5 }), json!([1])] {
            let mut converted = form.clone();
            upcast("TenantRegistered", 1, &mut converted);
            assert_eq!(converted, form);
        }
    }
}
