//! Installation: what happened to the log as a whole.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Decide;

/// State of the installation. There is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Era of the log, which every restore into another database cluster raises. The first is 0.
    pub era: u16,
}

/// The last fact of the log that a restore has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFact {
    pub transaction_id: u64,
    pub position: i64,
    /// By the clock of the database that the backup was made of.
    pub recorded_at: DateTime<Utc>,
}

impl Installation {
    /// Id of its stream.
    pub const ID: Uuid = Uuid::nil();

    fn fold(&mut self, fact: InstallationFact) {
        match fact {
            InstallationFact::LogRestored { era, .. } => self.era = era,
        }
    }
}

/// Command to the installation.
#[derive(Clone, Debug)]
pub enum InstallationCommand {
    /// Records that the log was restored and continues in `era`. Not a later era: ignored.
    RecordRestore { era: u16, last: Option<LastFact>, at: DateTime<Utc> },
}

/// Fact about the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum InstallationFact {
    /// The log was restored from a backup. It is the first fact of `era`.
    LogRestored {
        era: u16,
        /// `None`: the log was empty.
        last: Option<LastFact>,
        at: DateTime<Utc>,
    },
}

stored_facts!(InstallationFact { LogRestored });

aggregate!(Installation, InstallationCommand, InstallationFact, Infallible);

impl Decide for Installation {
    fn decide(&self, command: InstallationCommand) -> Result<Vec<InstallationFact>, Infallible> {
        let InstallationCommand::RecordRestore { era, last, at } = command;
        Ok(if era > self.era { vec![InstallationFact::LogRestored { era, last, at }] } else { vec![] })
    }
}
