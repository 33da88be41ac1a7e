//! Commands of the management API. A command appends its facts and returns when every read model shows them.
//!
//! So a client finds what it has just created. The wait is bounded: the facts are in the log even if the projections
//! are slow, and a client must not repeat a command because of that. Revocations do not depend on it: they are in force
//! in every process with the append.

use std::time::Duration;

use aggregates::Decide;
use aggregates::email::Email;
use aggregates::ids::UserId;
use aggregates::user::{User, UserCommand, UserFact};
use projections::LogPosition;
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::http::problem::Problem;
use crate::api::list_queries::ListQueries;
use crate::event_store::log_reader;
use crate::event_store::{AppendFailure, Credentials, EventStore, Executed, Loaded, Metadata, StreamAppend};
use crate::projector::Projected;

/// How long a command waits for the read models.
const PROJECTION_WAIT_MAX: Duration = Duration::from_secs(5);
/// Number of times that a command over several streams is decided again after a concurrent append.
pub(crate) const CONFLICT_RETRIES_MAX: u32 = 5;

/// Executes commands and waits for the read models.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    store: EventStore,
    projected: Projected,
    lists: ListQueries,
}

/// Appends to several streams, collected by a command and committed all or none.
#[derive(Debug)]
pub(crate) struct UnitOfWork {
    store: EventStore,
    metadata: Metadata,
    appends: Vec<StreamAppend>,
}

impl Commands {
    pub(crate) fn new(store: EventStore, projected: Projected, lists: ListQueries) -> Self {
        Self { store, projected, lists }
    }

    /// Returns the database of the log and of the read models.
    pub(crate) fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// Returns the connections for lists.
    pub(crate) fn lists(&self) -> &ListQueries {
        &self.lists
    }

    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    /// Executes a command of one aggregate.
    ///
    /// # Errors
    /// The refusal of the aggregate, a conflict that persists, or a failure of the database.
    pub(crate) async fn execute<A>(
        &self,
        id: Uuid,
        command: A::Command,
        metadata: &Metadata,
    ) -> Result<Executed<A>, Problem>
    where
        A: Decide,
        A::Command: Clone + Send + Sync,
        A::Error: Send + Sync + Into<Problem> + 'static,
    {
        let executed = self.store.execute::<A>(id, command, metadata).await?;
        self.wait(executed.position).await;
        Ok(executed)
    }

    /// Executes a command over several aggregates. After a concurrent append to one of them all decide again.
    /// `decide` returns the unit of work to commit, and the result of the command.
    ///
    /// # Errors
    /// The error of `decide`, a conflict that persists, or a failure of the database.
    pub(crate) async fn transact<T, D>(
        &self,
        metadata: &Metadata,
        decide: impl Fn(UnitOfWork) -> D + Send + Sync,
    ) -> Result<T, Problem>
    where
        D: Future<Output = Result<(UnitOfWork, T), Problem>> + Send,
    {
        let mut repetitions = 0;
        loop {
            let work = UnitOfWork { store: self.store.clone(), metadata: metadata.clone(), appends: vec![] };
            let (work, decided) = decide(work).await?;
            match self.store.append(&work.appends).await {
                Ok(position) => {
                    self.wait(position).await;
                    return Ok(decided);
                }
                Err(AppendFailure::Conflict) if repetitions < CONFLICT_RETRIES_MAX => repetitions += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Waits until every read model shows what is in the log now. Returns whether they do.
    ///
    /// # Errors
    /// The end of the log cannot be read.
    pub(crate) async fn catch_up(&self) -> Result<bool, Problem> {
        let end = log_reader::last_committed(&mut *self.pool().acquire().await?).await?;
        Ok(self.wait(end).await)
    }

    /// Waits until every read model shows the fact at `position`. Returns whether they do.
    pub(crate) async fn wait(&self, position: Option<LogPosition>) -> bool {
        let Some(position) = position else { return true };
        let shown = self.projected.wait(position, PROJECTION_WAIT_MAX).await;
        if !shown {
            tracing::warn!(?position, "the read models did not apply a command in time");
        }
        shown
    }
}

impl UnitOfWork {
    /// Loads the aggregate of stream `id`.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub(crate) async fn load<A>(&self, id: Uuid) -> Result<Loaded<A>, Problem>
    where
        A: Decide,
        A::Error: Send + Sync + 'static,
    {
        Ok(self.store.load::<A>(id).await?)
    }

    /// Executes a command of the aggregate of stream `id`.
    ///
    /// # Errors
    /// The refusal of the aggregate, as `refused` maps it, or the stream cannot be read.
    pub(crate) async fn decide<A>(
        &mut self,
        id: Uuid,
        command: A::Command,
        refused: impl FnOnce(A::Error) -> Problem,
    ) -> Result<Loaded<A>, Problem>
    where
        A: Decide,
        A::Error: Send + Sync + 'static,
    {
        let mut loaded = self.store.load::<A>(id).await?;
        self.decide_loaded(&mut loaded, vec![command], refused)?;
        Ok(loaded)
    }

    /// Executes commands of an aggregate that was loaded before, and returns their facts.
    ///
    /// # Errors
    /// The first refusal, as `refused` maps it.
    pub(crate) fn decide_loaded<A>(
        &mut self,
        loaded: &mut Loaded<A>,
        commands: Vec<A::Command>,
        refused: impl FnOnce(A::Error) -> Problem,
    ) -> Result<Vec<A::Event>, Problem>
    where
        A: Decide,
    {
        let facts = decide_all(loaded, commands).map_err(refused)?;
        let append = StreamAppend::new::<A>(loaded.id, loaded.version, &facts, &self.metadata)?;
        self.appends.push(append);
        Ok(facts)
    }

    /// Executes commands of a user who was loaded before, with the credentials that their facts set, and returns the facts.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn decide_user(
        &mut self,
        loaded: &mut Loaded<User>,
        commands: Vec<UserCommand>,
        credentials: &Credentials,
    ) -> Result<Vec<UserFact>, Problem> {
        let facts = decide_all(loaded, commands)?;
        let (id, version) = (UserId(loaded.id), loaded.version);
        self.appends.push(StreamAppend::of_user(id, version, &facts, credentials, &self.metadata)?);
        Ok(facts)
    }

    /// Returns the email address of a user who was loaded.
    ///
    /// # Errors
    /// It is missing, or the database fails.
    pub(crate) async fn email_of(&self, user: &Loaded<User>) -> Result<Email, Problem> {
        email_of(&self.store, user).await
    }
}

/// Returns the email address of a user who was loaded and not deleted.
///
/// # Errors
/// It is missing, or the database fails.
pub(crate) async fn email_of(store: &EventStore, user: &Loaded<User>) -> Result<Email, Problem> {
    store.email_of(user).await?.ok_or_else(|| Problem::internal("a user has no email address"))
}

fn decide_all<A>(loaded: &mut Loaded<A>, commands: Vec<A::Command>) -> Result<Vec<A::Event>, A::Error>
where
    A: Decide,
{
    let mut facts = vec![];
    for command in commands {
        facts.extend(loaded.decide(command)?);
    }
    Ok(facts)
}
