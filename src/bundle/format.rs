//! What the members of a bundle are named, and the forms of `manifest.json` and `facts.ndjson`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use evidence::leaf::Salt;
use evidence::tree::{LogResource, TileId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) const FORMAT: &str = "hooksentry.dev/bundle/v1";

/// Member of a bundle. The text form is its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Readme,
    Script,
    Policy,
    Checkpoint(Uuid),
    /// Proof that the log of the installation has the checkpoint of this log.
    Installation(Uuid),
    /// What was stamped: the checkpoint of the log of the installation in that proof, without cosignatures.
    Stamped(Uuid),
    TimeStamp(Uuid),
    Tile(Uuid, TileId),
    Proof(Uuid, u64),
    Delivered(Uuid),
    Received(Uuid),
    Facts,
    Manifest,
}

impl Member {
    /// The log of which all files but the facts are kept in memory; `None`: of none.
    pub(super) fn log(self) -> Option<Uuid> {
        match self {
            Self::Checkpoint(log)
            | Self::Installation(log)
            | Self::Stamped(log)
            | Self::TimeStamp(log)
            | Self::Tile(log, _) => Some(log),
            Self::Readme
            | Self::Script
            | Self::Policy
            | Self::Proof(..)
            | Self::Delivered(_)
            | Self::Received(_)
            | Self::Facts
            | Self::Manifest => None,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readme => f.write_str("README.txt"),
            Self::Script => f.write_str("verify.py"),
            Self::Policy => f.write_str("policy.txt"),
            Self::Checkpoint(log) => write!(f, "log/{log}/checkpoint"),
            Self::Installation(log) => write!(f, "log/{log}/installation.tlog-proof"),
            Self::Stamped(log) => write!(f, "timestamps/{log}.checkpoint"),
            Self::TimeStamp(log) => write!(f, "timestamps/{log}.tsr"),
            Self::Tile(log, tile) => write!(f, "log/{log}/{}", LogResource::Tile(*tile)),
            Self::Proof(log, index) => write!(f, "proofs/{log}/{index}.tlog-proof"),
            Self::Delivered(event) => write!(f, "payloads/{event}.delivered"),
            Self::Received(event) => write!(f, "payloads/{event}.received"),
            Self::Facts => f.write_str("facts.ndjson"),
            Self::Manifest => f.write_str("manifest.json"),
        }
    }
}

impl FromStr for Member {
    type Err = ();

    /// Parses the path of a member. A path in any other form, such as one that leads out of a folder, is none.
    fn from_str(path: &str) -> Result<Self, ()> {
        let member = parse(path).ok_or(())?;
        if member.to_string() == path { Ok(member) } else { Err(()) }
    }
}

fn parse(path: &str) -> Option<Member> {
    let of_log = |rest: &str| {
        let (log, rest) = rest.split_once('/')?;
        let log = log.parse().ok()?;
        Some(match rest {
            "checkpoint" => Member::Checkpoint(log),
            "installation.tlog-proof" => Member::Installation(log),
            resource => match resource.parse().ok()? {
                LogResource::Tile(tile) => Member::Tile(log, tile),
                LogResource::Checkpoint | LogResource::Entries(_) => return None,
            },
        })
    };
    Some(match path.split_once('/') {
        None => match path {
            "README.txt" => Member::Readme,
            "verify.py" => Member::Script,
            "policy.txt" => Member::Policy,
            "facts.ndjson" => Member::Facts,
            "manifest.json" => Member::Manifest,
            _ => return None,
        },
        Some(("log", rest)) => of_log(rest)?,
        Some(("proofs", rest)) => {
            let (log, index) = rest.strip_suffix(".tlog-proof")?.split_once('/')?;
            Member::Proof(log.parse().ok()?, index.parse().ok()?)
        }
        Some(("timestamps", file)) => match file.split_once('.')? {
            (log, "checkpoint") => Member::Stamped(log.parse().ok()?),
            (log, "tsr") => Member::TimeStamp(log.parse().ok()?),
            _ => return None,
        },
        Some(("payloads", file)) => match file.split_once('.')? {
            (event, "delivered") => Member::Delivered(event.parse().ok()?),
            (event, "received") => Member::Received(event.parse().ok()?),
            _ => return None,
        },
        Some(_) => return None,
    })
}

/// Which facts of a tenant a bundle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Selection {
    /// Those of a webhook event.
    Event(Uuid),
    /// Those of a destination and of all webhook events that were accepted for it.
    Destination(Uuid),
    /// All that were recorded in a time, and one before and after it, so that the bundle shows that it lacks none.
    #[serde(rename_all = "camelCase")]
    Recorded {
        /// Included. `None`: from the first fact.
        from: Option<DateTime<Utc>>,
        /// Excluded. `None`: up to the checkpoint.
        to: Option<DateTime<Utc>>,
    },
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: String,
    /// Program and version.
    pub(super) made_by: String,
    pub(super) made_at: DateTime<Utc>,
    pub(super) tenant: Uuid,
    pub(super) selection: Selection,
    /// Logs of the tenant, oldest first.
    pub(super) logs: Vec<LogPart>,
    /// Number of lines of `facts.ndjson`.
    pub(super) lines: u64,
    /// Facts of the selection that no signed checkpoint covered yet. They are not in the bundle.
    pub(super) unsealed_facts: u64,
}

/// Part of a log that a bundle has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogPart {
    pub(super) id: Uuid,
    /// First and last index, if the bundle has all entries between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) indexes: Option<(u64, u64)>,
    /// Salt of the entry of the installation's log that commits to the checkpoint.
    pub(super) checkpoint_salt: Base64Salt,
}

/// Line of `facts.ndjson`: an entry of a log. Exactly one of `fact` and `continues` is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Line {
    pub(super) log: Uuid,
    pub(super) index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fact: Option<ShownFact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) continues: Option<EndedLog>,
}

/// A fact with all that its entry follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShownFact {
    pub(super) stream: String,
    pub(super) sequence: u64,
    #[serde(rename = "type")]
    pub(super) fact_type: String,
    pub(super) version: String,
    /// RFC 3339 in UTC with six decimals, as in the entry.
    pub(super) recorded: String,
    pub(super) salt: Base64Salt,
    /// Exactly the stored text.
    pub(super) metadata: String,
    /// Exactly the stored text.
    pub(super) text: String,
    /// `None`: the fact commits to no payload, or it is not stored any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<ShownPayload>,
    /// `None`: the fact commits to no response, or it is not stored any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<ShownResponse>,
}

/// A payload, whose bytes are members of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShownPayload {
    pub(super) salt: Base64Salt,
    /// Whether the payload was transformed, so that there is a member with the received bytes as well.
    pub(super) received: bool,
}

/// What was kept of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShownResponse {
    pub(super) salt: Base64Salt,
    pub(super) text: String,
}

/// The log that another one continues, and its last head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EndedLog {
    pub(super) log: Uuid,
    pub(super) size: u64,
    /// Base64.
    pub(super) root: String,
}

/// Salt as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base64Salt(pub(super) Salt);

impl Base64Salt {
    /// Returns a salt that was stored; `None` if it has another length.
    pub(super) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Salt::from_bytes(bytes)))
    }
}

impl Serialize for Base64Salt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Base64Salt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| Self::stored(&bytes))
            .ok_or_else(|| serde::de::Error::custom("a salt must be the base64 of 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic(text in ".{0,200}", bytes in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = (text.parse::<Member>(), serde_json::from_str::<Line>(&text));
            let _ = (serde_json::from_slice::<Line>(&bytes), serde_json::from_slice::<Manifest>(&bytes));
            for prefix in ["log/0190c2de-6b1c-7000-8000-000000000001/", "proofs/", "payloads/"] {
                let _ = format!("{prefix}{text}").parse::<Member>();
            }
        }
    }

    #[test]
    fn every_member_has_one_path() {
        let id = "0190c2de-6b1c-7000-8000-000000000001".parse().unwrap();
        let tile = TileId::new(1, 1_234_067, 256).unwrap();
        for member in [
            Member::Readme,
            Member::Checkpoint(id),
            Member::Installation(id),
            Member::Stamped(id),
            Member::TimeStamp(id),
            Member::Tile(id, tile),
            Member::Proof(id, 12),
            Member::Delivered(id),
            Member::Received(id),
            Member::Facts,
        ] {
            assert_eq!(member.to_string().parse(), Ok(member));
        }
        for path in [
            "",
            "/README.txt",
            "./README.txt",
            "../README.txt",
            "log/../../etc/passwd",
            "log/0190C2DE-6B1C-7000-8000-000000000001/checkpoint",
            "log/0190c2de6b1c70008000000000000001/checkpoint",
            "log/0190c2de-6b1c-7000-8000-000000000001/tile/entries/000",
            "proofs/0190c2de-6b1c-7000-8000-000000000001/012.tlog-proof",
            "payloads/0190c2de-6b1c-7000-8000-000000000001",
        ] {
            assert_eq!(path.parse::<Member>(), Err(()), "{path}");
        }
    }
}
