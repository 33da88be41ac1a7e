//! Appending to one stream or to several at once, all or nothing.

use aggregates::ids::UserId;
use aggregates::user::{User, UserFact};
use cqrs_es::{Aggregate, DomainEvent};
use projections::{BigInt, LogPosition};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::credentials::{self, CredentialRow, Credentials};
use super::metadata::Metadata;
use super::origin::{Origin, OriginColumns};

/// SQLSTATE of an append that PostgreSQL aborted because it and another append waited for each other's
/// streams. The other one succeeds, so this is a conflict.
const DEADLOCK_DETECTED: &str = "40P01";

/// Facts that take a right away from the holder of a token, a key, a password or a role. The rows of read models may
/// lack them for a while, so the append itself records them in `revocations`.
const REVOKING_FACTS: [&str; 13] = [
    "LoggedOut",
    "EmailChanged",
    "PasswordChanged",
    "RoleChanged",
    "SecondFactorEnabled",
    "UserDeactivated",
    "UserDeleted",
    "ApiKeyRevoked",
    "PortalLinkRevoked",
    "IngestTokenRegenerated",
    "SenderIngestTokenRegenerated",
    "SenderDeleted",
    "TenantSuspended",
];

/// Facts to append to one stream.
#[derive(Clone, Debug)]
pub struct StreamAppend {
    aggregate_type: &'static str,
    stream_id: Uuid,
    /// Version of the stream before the append.
    expected_version: u64,
    facts: Vec<StoredFact>,
    metadata: String,
    origin: Option<Origin>,
    /// What facts of a user set.
    credentials: Vec<CredentialRow>,
}

#[derive(Clone, Debug)]
struct StoredFact {
    event_type: String,
    event_version: String,
    payload: String,
}

/// Error of an append; nothing was appended.
#[derive(Debug, Error)]
pub enum AppendFailure {
    /// One of the streams no longer has its expected version.
    #[error("another append to the stream came first")]
    Conflict,
    #[error("a fact cannot be written as JSON")]
    Unwritable(#[from] serde_json::Error),
    #[error("the event log cannot be written")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for AppendFailure {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database)
                if database.constraint() == Some("events_one_fact_a_version")
                    || database.code().as_deref() == Some(DEADLOCK_DETECTED) =>
            {
                Self::Conflict
            }
            _ => Self::Database(error),
        }
    }
}

impl StreamAppend {
    /// Returns an append of facts to the stream `stream_id`, which must have `expected_version`.
    ///
    /// # Errors
    /// When a fact or the metadata cannot be written as JSON.
    pub fn new<A: Aggregate>(
        stream_id: Uuid,
        expected_version: u64,
        facts: &[A::Event],
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let facts = facts
            .iter()
            .map(|fact| {
                Ok(StoredFact {
                    event_type: fact.event_type(),
                    event_version: fact.event_version(),
                    payload: serde_json::to_string(fact)?,
                })
            })
            .collect::<Result<_, serde_json::Error>>()?;
        let origin = metadata.origin.clone();
        let metadata = serde_json::to_string(metadata)?;
        Ok(Self {
            aggregate_type: A::TYPE,
            stream_id,
            expected_version,
            facts,
            metadata,
            origin,
            credentials: vec![],
        })
    }

    /// Returns an append to the stream of a user, which stores the credentials that the facts set.
    ///
    /// # Errors
    /// When a fact or the metadata cannot be written as JSON.
    pub fn of_user(
        id: UserId,
        expected_version: u64,
        facts: &[UserFact],
        credentials: &Credentials,
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let append = Self::new::<User>(id.0, expected_version, facts, metadata)?;
        let credentials = credentials.rows(id, metadata.tenant_id, expected_version, facts);
        Ok(Self { credentials, ..append })
    }

    /// Returns about how many bytes the append sends to the database.
    pub(super) fn bytes(&self) -> usize {
        self.facts.iter().map(|fact| fact.payload.len() + self.metadata.len()).sum()
    }

    /// Returns the stream and the version that it must have. Of several appends with the same one only one can succeed.
    pub(super) fn stream_version(&self) -> (&'static str, Uuid, u64) {
        (self.aggregate_type, self.stream_id, self.expected_version)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

/// Columns of the facts of several appends, for `unnest`.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) aggregate_types: Vec<String>,
    pub(super) aggregate_ids: Vec<String>,
    pub(super) sequences: Vec<BigInt>,
    pub(super) event_types: Vec<String>,
    pub(super) event_versions: Vec<String>,
    pub(super) payloads: Vec<String>,
    pub(super) metadata: Vec<String>,
    /// Number of the append that a row belongs to, from 1.
    pub(super) appends: Vec<i32>,
    /// Whether a row is the first of its append.
    pub(super) heads: Vec<bool>,
}

impl Columns {
    pub(super) fn of<'a>(appends: impl IntoIterator<Item = &'a StreamAppend>) -> Self {
        let mut columns = Self::default();
        for (number, append) in (1i32..).zip(appends) {
            for (offset, fact) in (0u64..).zip(&append.facts) {
                let sequence = append.expected_version.saturating_add(1).saturating_add(offset);
                columns.aggregate_types.push(append.aggregate_type.to_owned());
                columns.aggregate_ids.push(append.stream_id.to_string());
                columns.sequences.push(BigInt(sequence));
                columns.event_types.push(fact.event_type.clone());
                columns.event_versions.push(fact.event_version.clone());
                columns.payloads.push(fact.payload.clone());
                columns.metadata.push(append.metadata.clone());
                columns.appends.push(number);
                columns.heads.push(offset == 0);
            }
        }
        columns
    }
}

/// Appends to every stream or to none, and returns the position of the last fact. There must be a fact. Revocations
/// are in force with the append, and what is personal in the facts is stored.
#[tracing::instrument(name = "db.events.append", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn append_atomically(
    connection: &mut PgConnection,
    appends: &[StreamAppend],
) -> Result<LogPosition, AppendFailure> {
    let columns = Columns::of(appends);
    let origins: OriginColumns = appends.iter().filter_map(|append| append.origin.as_ref()).collect();
    let (emails, passwords) = credentials::columns(appends.iter().flat_map(|append| &append.credentials));
    let revoking = REVOKING_FACTS.map(str::to_owned);
    let positions = sqlx::query_file_as!(
        LogPosition,
        "src/event_store/append.sql",
        &columns.aggregate_types,
        &columns.aggregate_ids,
        &columns.sequences as &[BigInt],
        &columns.event_types,
        &columns.event_versions,
        &columns.payloads,
        &columns.metadata,
        &columns.heads,
        &revoking[..],
        &origins.ids,
        &origins.tenants,
        &origins.users,
        &origins.texts,
        &origins.salts,
        &emails.users,
        &emails.versions as &[BigInt],
        &emails.tenants,
        &emails.texts,
        &emails.salts,
        &passwords.users,
        &passwords.versions as &[BigInt],
        &passwords.tenants,
        &passwords.hashes,
    )
    .fetch_all(connection)
    .await?;
    // Nothing was inserted: a stream does not have its expected version.
    positions.into_iter().max().ok_or(AppendFailure::Conflict)
}

#[cfg(test)]
mod tests {
    use aggregates::Facts;
    use aggregates::api_key::ApiKeyFact;
    use aggregates::destination::DestinationFact;
    use aggregates::portal_link::PortalLinkFact;
    use aggregates::sender::SenderFact;
    use aggregates::session::SessionFact;
    use aggregates::tenant::TenantFact;

    use super::*;

    #[test]
    fn a_revoking_fact_exists() {
        let names = [
            SessionFact::NAMES,
            UserFact::NAMES,
            ApiKeyFact::NAMES,
            DestinationFact::NAMES,
            SenderFact::NAMES,
            PortalLinkFact::NAMES,
            TenantFact::NAMES,
        ];
        for fact in REVOKING_FACTS {
            assert!(names.concat().contains(&fact), "{fact}");
        }
    }
}
