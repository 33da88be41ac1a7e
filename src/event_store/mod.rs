//! The event store: appending facts, loading aggregates, following the log.
//!
//! Two ways lead into the log, both over the one table that `postgres-es` reads. Commands that change
//! the configuration load their aggregates, decide, and append to one or several streams in one
//! transaction ([`EventStore::execute`], [`EventStore::append`]). The hot paths (a webhook accepted, an
//! attempt announced, an outcome recorded) load nothing and share their commits ([`group_commit`]).
//! Whatever the way, a stream's version is expected and the table's primary key decides who was first.

mod acceptance;
mod append;
mod attempt_claim;
pub mod group_commit;
mod log_notifier;
pub mod log_reader;
mod metadata;
mod non_appending;
mod recent_log;
mod stream_append;
pub mod stream_reader;
mod upcasting;
mod with_payload;

use aggregates::{Decide, Facts};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateError, EventStore as _};
use postgres_es::PostgresEventRepository;
use projections::LogPosition;
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

pub use acceptance::{AcceptBatch, AcceptItem, AcceptOutcome, IngestCredentials};
pub use append::{AppendFailure, StreamAppend};
pub use attempt_claim::{AttemptClaim, AttemptClaimBatch, AttemptClaimItem, AttemptClaimOutcome};
pub use log_notifier::{LogNotifier, Notification};
pub use metadata::{Actor, Metadata};
pub use non_appending::{NON_APPENDING, mark_non_appending};
pub use recent_log::RecentLog;
pub use stream_append::{StreamAppendBatch, StreamAppendItem, StreamAppendResult};

use upcasting::Upcaster;

/// How often a command is decided anew when somebody else appended first.
const CONFLICT_RETRIES_MAX: u32 = 5;

/// The log, as commands use it.
#[derive(Clone, Debug)]
pub struct EventStore {
    pool: PgPool,
    notifier: LogNotifier,
    recent: RecentLog,
}

/// An aggregate as its stream stands.
#[derive(Clone, Debug)]
pub struct Loaded<A> {
    pub id: Uuid,
    /// The stream's version; 0 when it has no facts.
    pub version: u64,
    pub state: A,
}

/// Why an aggregate could not be loaded.
#[derive(Debug, Error)]
#[error("the stream of {aggregate} {id} cannot be read")]
pub struct LoadFailure {
    aggregate: &'static str,
    id: Uuid,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a command came to nothing.
#[derive(Debug, Error)]
pub enum CommandFailure<R: std::error::Error + 'static> {
    /// The domain says no.
    #[error(transparent)]
    Refused(R),
    /// Its stream cannot be read.
    #[error(transparent)]
    Load(#[from] LoadFailure),
    /// Its facts cannot be written; a conflict here outlasted every repetition.
    #[error(transparent)]
    Append(#[from] AppendFailure),
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The aggregate after it.
    pub state: A,
    /// Its facts; none when it changed nothing.
    pub facts: Vec<A::Event>,
    /// The place of its last fact.
    pub position: Option<LogPosition>,
}

impl<A: Aggregate + Decide> Loaded<A> {
    /// Decides, applies, and answers with what to append.
    pub fn decide(&mut self, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
        let facts = self.state.decide(command)?;
        for fact in &facts {
            self.state.apply(fact.clone());
        }
        Ok(facts)
    }
}

impl EventStore {
    /// The log in the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self { pool, notifier, recent: RecentLog::default() }
    }

    /// Who is woken when the log grows.
    #[must_use]
    pub fn notifier(&self) -> &LogNotifier {
        &self.notifier
    }

    /// Its end, as the followers in this process share it.
    #[must_use]
    pub fn recent(&self) -> &RecentLog {
        &self.recent
    }

    /// The database of the log.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Loads the aggregate whose stream is `id`.
    pub async fn load<A: Aggregate<Event: Facts>>(&self, id: Uuid) -> Result<Loaded<A>, LoadFailure>
    where
        A::Error: Send + Sync + 'static,
    {
        let repository = PostgresEventRepository::new(self.pool.clone());
        let store = PersistedEventStore::<_, A>::new_event_store(repository)
            .with_upcasters(vec![Box::new(Upcaster::<A::Event>::default())]);
        let context = store.load_aggregate(&id.to_string()).await.map_err(|error| {
            let source = match error {
                AggregateError::DatabaseConnectionError(source)
                | AggregateError::DeserializationError(source)
                | AggregateError::UnexpectedError(source) => source,
                other => Box::new(other),
            };
            LoadFailure { aggregate: A::TYPE, id, source }
        })?;
        let version = u64::try_from(context.current_sequence).unwrap_or(u64::MAX);
        Ok(Loaded { id, version, state: context.aggregate })
    }

    /// Loads, decides and appends; decides anew when somebody else was first.
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

    /// Appends to every stream or to none, and answers with the place of the last fact (`None` when
    /// there was nothing to append).
    pub async fn append(&self, appends: &[StreamAppend]) -> Result<Option<LogPosition>, AppendFailure> {
        if appends.iter().all(StreamAppend::is_empty) {
            return Ok(None);
        }
        let mut transaction = self.pool.begin().await?;
        let position = append::append_atomically(&mut transaction, appends).await?;
        transaction.commit().await?;
        self.notifier.announce(Notification::Work);
        Ok(Some(position))
    }
}
