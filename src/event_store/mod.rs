//! The event store: appending facts, loading aggregates, reading the log.
//!
//! Facts are appended in two ways, both to the one table that `postgres-es` reads. Commands that change the
//! configuration load their aggregates, decide, and append to one or several streams in one transaction
//! ([`EventStore::execute`], [`EventStore::append`]). The hot paths (accepting a webhook, claiming an
//! attempt, recording its outcome) load nothing and share their commits ([`group_commit`]). Every append
//! names the version that it expects of a stream, which must be that of its last fact. Of several appends with
//! the same one the table's primary key admits one.

mod accept_item;
mod accept_pace;
mod accept_queue;
mod accept_statement;
mod acceptance;
mod acceptances;
mod accepted_events;
mod append;
mod attempt_claim;
pub mod bulk_action;
mod claimed_payload;
mod credentials;
mod distinct;
mod first_attempts;
pub mod group_commit;
pub mod held_back;
mod legal_hold;
mod log_notifier;
mod log_origin;
pub mod log_reader;
mod metadata;
mod origin;
mod payload_erasure;
mod permit_leases;
mod personal_data_erasure;
mod recent_log;
mod recent_payloads;
mod stream_append;
pub mod stream_reader;
mod upcasting;
mod with_payload;

use aggregates::{Decide, Facts};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateError, EventStore as _};
use postgres_es::PostgresEventRepository;
use projections::LogPosition;
pub use projections::{NON_APPENDING, mark_non_appending};
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

pub use accept_item::{AcceptItem, AcceptedPayload, IngestCredentials};
pub use accept_pace::SmallTraffic;
pub use accept_queue::{AcceptQueue, QueueLimits};
pub use acceptance::{AcceptBatch, AcceptOutcome, AcceptedSize};
pub use acceptances::Acceptances;
pub use accepted_events::{AcceptedEvent, AcceptedEvents, AcceptedEventsReceiver};
pub use append::{AppendFailure, StreamAppend};
pub use attempt_claim::{AttemptClaim, AttemptClaimBatch, AttemptClaimItem, AttemptClaimOutcome};
pub use claimed_payload::{ClaimedEvent, ClaimedPayload, ClaimedPayloadBatch};
pub use credentials::{Credentials, NewEmail};
pub use first_attempts::{FirstAttempt, FirstAttempts, NewEvent, PreparesAttempts};
pub use log_notifier::{LogNotifier, Notification};
pub use log_origin::{
    BegunEra, LogOriginFailure, begin_era, current_era, leader_is_connected, require_own_log,
};
pub use metadata::{Actor, Metadata};
pub use origin::{Origin, Origins, Person};
pub use payload_erasure::{ErasureFailure, append_erasures};
pub use permit_leases::{Lessor, PermitLease, PermitLeases};
pub use recent_log::RecentLog;
pub use recent_payloads::RecentPayloads;
pub use stream_append::{StoredResponse, StreamAppendBatch, StreamAppendItem, StreamAppendResult};

use crate::database;
use upcasting::Upcaster;

/// How often a command is decided again after another append came first.
const CONFLICT_RETRIES_MAX: u32 = 5;

/// The event log with its notifier, and what this process has read of it and appended to it last.
#[derive(Clone, Debug)]
pub struct EventStore {
    pool: PgPool,
    notifier: LogNotifier,
    recent: RecentLog,
    accepted: AcceptedEvents,
    recent_payloads: RecentPayloads,
    first_attempts: FirstAttempts,
}

/// An aggregate loaded from its stream.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    pub id: Uuid,
    /// Version of the stream; 0 when it has no facts.
    pub version: u64,
    pub state: A,
}

/// Error of loading an aggregate.
#[derive(Debug, Error)]
#[error("the stream of {aggregate} {id} cannot be read")]
pub struct LoadFailure {
    aggregate: &'static str,
    id: Uuid,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Error of a command; nothing was appended.
#[derive(Debug, Error)]
pub enum CommandFailure<R: std::error::Error + 'static> {
    /// The domain refuses the command.
    #[error(transparent)]
    Refused(R),
    #[error(transparent)]
    Load(#[from] LoadFailure),
    /// A conflict is reported after all repetitions.
    #[error(transparent)]
    Append(#[from] AppendFailure),
}

/// Result of a command.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The aggregate after the command.
    pub state: A,
    /// The appended facts; empty when the command changed nothing.
    pub facts: Vec<A::Event>,
    /// Position of the last appended fact.
    pub position: Option<LogPosition>,
}

impl<A: Aggregate + Decide> Loaded<A> {
    /// Decides a command, applies the facts, and returns them to be appended.
    ///
    /// # Errors
    /// The refusal of the domain.
    pub fn decide(&mut self, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
        let facts = self.state.decide(command)?;
        for fact in &facts {
            self.state.apply(fact.clone());
        }
        Ok(facts)
    }
}

impl EventStore {
    /// Returns the log in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self {
            pool,
            notifier,
            recent: RecentLog::default(),
            accepted: AcceptedEvents::default(),
            recent_payloads: RecentPayloads::default(),
            first_attempts: FirstAttempts::default(),
        }
    }

    #[must_use]
    pub fn notifier(&self) -> &LogNotifier {
        &self.notifier
    }

    /// Returns the cache that the readers of this process share.
    #[must_use]
    pub fn recent(&self) -> &RecentLog {
        &self.recent
    }

    /// Returns the way of webhooks that this process accepts to its dispatcher.
    #[must_use]
    pub fn accepted_events(&self) -> &AcceptedEvents {
        &self.accepted
    }

    /// Returns the payloads that this process has accepted last.
    #[must_use]
    pub fn recent_payloads(&self) -> &RecentPayloads {
        &self.recent_payloads
    }

    /// Returns what first attempts begin with, which are appended with their acceptance.
    #[must_use]
    pub fn first_attempts(&self) -> &FirstAttempts {
        &self.first_attempts
    }

    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Loads the aggregate whose stream is `id`.
    ///
    /// # Errors
    /// When the database fails, or a fact has a form that this program does not know.
    pub async fn load<A: Aggregate<Event: Facts>>(&self, id: Uuid) -> Result<Loaded<A>, LoadFailure>
    where
        A::Error: Send + Sync + 'static,
    {
        let repository = PostgresEventRepository::new(self.pool.clone());
        let store = PersistedEventStore::<_, A>::new_event_store(repository)
            .with_upcasters(vec![Box::new(Upcaster::<A::Event>::default())]);
        let stream = id.to_string();
        let loading = async { Ok::<_, sqlx::Error>(store.load_aggregate(&stream).await) };
        let loaded = database::in_time(database::SHORT, loading).await;
        let loaded =
            loaded.unwrap_or_else(|error| Err(AggregateError::DatabaseConnectionError(error.into())));
        let context = loaded.map_err(|error| {
            let source = match error {
                AggregateError::DatabaseConnectionError(source)
                | AggregateError::DeserializationError(source)
                | AggregateError::UnexpectedError(source) => source,
                other => Box::new(other),
            };
            LoadFailure { aggregate: A::TYPE, id, source }
        })?;
        let version = context.current_sequence as u64;
        Ok(Loaded { id, version, state: context.aggregate })
    }

    /// Loads an aggregate, decides a command and appends its facts; starts again when another append came
    /// first.
    ///
    /// # Errors
    /// The refusal of the domain, or a failure of loading or appending.
    pub async fn execute<A>(
        &self,
        id: Uuid,
        command: A::Command,
        metadata: &Metadata,
    ) -> Result<Executed<A>, CommandFailure<A::Error>>
    where
        A: Decide,
        A::Command: Clone + Send + Sync,
        A::Error: Send + Sync + 'static,
    {
        let mut repetitions = 0;
        loop {
            let mut loaded = self.load::<A>(id).await?;
            let version = loaded.version;
            let facts = loaded.decide(command.clone()).map_err(CommandFailure::Refused)?;
            let append =
                StreamAppend::new::<A>(id, version, &facts, metadata).map_err(AppendFailure::from)?;
            match self.append(&[append]).await {
                Ok(position) => return Ok(Executed { state: loaded.state, facts, position }),
                Err(AppendFailure::Conflict) if repetitions < CONFLICT_RETRIES_MAX => repetitions += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Stores the origin that `metadata` names, for facts that are appended by a group commit, which does not store it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn store_origin(&self, metadata: &Metadata) -> Result<(), sqlx::Error> {
        let Some(origin) = &metadata.origin else { return Ok(()) };
        database::in_time(database::SHORT, async {
            origin::store(&mut *self.pool.acquire().await?, origin).await
        })
        .await
    }

    /// Appends to every stream or to none. Returns the position of the last fact; `None` when there was
    /// nothing to append.
    ///
    /// # Errors
    /// [`AppendFailure::Conflict`] when a stream does not have its expected version; other failures of the
    /// database.
    pub async fn append(&self, appends: &[StreamAppend]) -> Result<Option<LogPosition>, AppendFailure> {
        if appends.iter().all(StreamAppend::is_empty) {
            return Ok(None);
        }
        // One statement, which is a transaction of its own: a process that is paused leaves none open.
        let position = database::in_time(database::SHORT, async {
            let mut connection = self.pool.acquire().await?;
            append::append_atomically(&mut connection, appends).await
        })
        .await?;
        self.notifier.notify(Notification::NewWork);
        Ok(Some(position))
    }
}
