//! Result of a verification, for people and as JSON.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// Result of verifying a bundle or a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) verified: bool,
    /// What was verified, in words.
    pub(crate) subject: String,
    /// What holds, one log after another; those after the first bad position are missing.
    pub(crate) logs: Vec<LogReport>,
    pub(crate) facts: u64,
    pub(crate) payloads: Checked,
    pub(crate) responses: Checked,
    /// Email addresses, client addresses and user agents. A bundle has none.
    pub(crate) personal: Checked,
    /// Facts that no signed checkpoint covers yet, so that nothing proves them.
    pub(crate) unsealed_facts: u64,
    /// Facts whose entries say nothing, because the key of their tenant was deleted.
    pub(crate) erased_facts: u64,
    /// The first bad position of each log, or of the bundle.
    pub(crate) problems: Vec<BadPosition>,
}

/// A log that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogReport {
    /// First line of its checkpoint.
    pub(crate) origin: String,
    /// Number of entries at the checkpoint.
    pub(crate) size: u64,
    /// Base64.
    pub(crate) root: String,
    /// Number of entries that were verified.
    pub(crate) entries: u64,
    /// First and last index, if every entry between them was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) complete: Option<(u64, u64)>,
    /// Keys of witnesses that cosigned the checkpoint of the installation which has this one.
    pub(crate) witnesses: Vec<String>,
    /// Whether that checkpoint has a time stamp, whose signature is not verified.
    pub(crate) has_time_stamp: bool,
}

/// Texts that are stored outside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checked {
    /// They are what the facts commit to.
    pub(crate) verified: u64,
    /// They are not stored any more: retention or an erasure removed them. The facts remain.
    pub(crate) not_stored: u64,
}

impl Checked {
    pub(crate) fn add(&mut self, other: Self) {
        self.verified += other.verified;
        self.not_stored += other.not_stored;
    }
}

/// Where something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BadPosition {
    /// Member of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<Uuid>,
    /// Index of the entry in the log, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
    /// What is wrong there.
    pub(crate) problem: String,
}

impl BadPosition {
    pub(crate) fn in_file(file: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { file: Some(file.to_string().into()), problem: problem.to_string(), ..Self::default() }
    }

    pub(crate) fn at(log: Uuid, index: u64, problem: impl fmt::Display) -> Self {
        Self { log: Some(log), index: Some(index), problem: problem.to_string(), ..Self::default() }
    }

    pub(crate) fn in_log(log: Uuid, problem: impl fmt::Display) -> Self {
        Self { log: Some(log), problem: problem.to_string(), ..Self::default() }
    }

    #[must_use]
    pub(crate) fn of_fact(self, stream: &str, sequence: u64) -> Self {
        Self { stream: Some(stream.to_owned()), sequence: Some(sequence), ..self }
    }
}

impl fmt::Display for BadPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        parts.extend(self.file.as_deref().map(str::to_owned));
        parts.extend(self.index.map(|index| format!("entry {index}")));
        parts.extend(self.log.map(|log| format!("log {log}")));
        parts.extend(self.stream.as_ref().map(|stream| format!("stream {stream}")));
        parts.extend(self.sequence.map(|sequence| format!("version {sequence}")));
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(", "))?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject)?;
        for log in &self.logs {
            let LogReport { origin, size, root, entries, complete, witnesses, has_time_stamp } = log;
            writeln!(f, "log {origin}: checkpoint of {size} entries, root {root}")?;
            match complete {
                Some((first, last)) => writeln!(f, "  all entries from {first} to {last}")?,
                None => writeln!(f, "  {entries} of its entries")?,
            }
            for witness in witnesses {
                writeln!(f, "  cosigned by {witness}")?;
            }
            if *has_time_stamp {
                writeln!(f, "  with a time stamp, which `openssl ts -verify` verifies: see README.txt")?;
            }
        }
        writeln!(f, "facts: {}", self.facts)?;
        let mut texts = vec![("payloads", self.payloads), ("responses", self.responses)];
        if self.personal != Checked::default() {
            texts.push(("personal data", self.personal));
        }
        for (name, checked) in texts {
            writeln!(f, "{name}: {} verified, {} not stored any more", checked.verified, checked.not_stored)?;
        }
        if self.unsealed_facts > 0 {
            writeln!(f, "facts that no checkpoint covers yet: {}", self.unsealed_facts)?;
        }
        if self.erased_facts > 0 {
            writeln!(
                f,
                "facts whose key was deleted, so that their entries say nothing: {}",
                self.erased_facts
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "BAD: {problem}")?;
        }
        writeln!(f, "{}", if self.verified { "VERIFIED" } else { "NOT VERIFIED" })
    }
}
