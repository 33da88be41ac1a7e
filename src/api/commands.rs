//! Commands of the management API: append, and answer only when every read model shows it.
//!
//! So a client that creates something and then asks for it finds it, and a token that was revoked is dead
//! on every node when the answer arrives. The wait is bounded: the facts are in the log whatever the
//! projections do, and a command must not be repeated because they are slow.

use std::time::Duration;

use aggregates::Decide;
use projections::LogPosition;
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::http::problem::Problem;
use crate::event_store::log_reader;
use crate::event_store::{AppendFailure, EventStore, Executed, Loaded, Metadata, StreamAppend};
use crate::projector::Projected;

/// How long a command waits for the read models.
const PROJECTION_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a command over several streams is decided anew when somebody else appended first.
pub(crate) const CONFLICT_RETRIES_MAX: u32 = 5;

/// Runs commands.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    store: EventStore,
    projected: Projected,
}

/// Streams that are decided on together, and appended together or not at all.
#[derive(Debug)]
pub(crate) struct Together {
    store: EventStore,
    metadata: Metadata,
    appends: Vec<StreamAppend>,
}

impl Commands {
    pub(crate) fn new(store: EventStore, projected: Projected) -> Self {
        Self { store, projected }
    }

    /// The database behind both sides.
    pub(crate) fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// The log.
    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    /// Has one aggregate decide.
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

    /// Has several aggregates decide. When somebody else appended to one of them first, all decide anew.
    /// `decide` gives the streams back, with what it has found out.
    pub(crate) async fn together<T, D>(
        &self,
        metadata: &Metadata,
        decide: impl Fn(Together) -> D + Send + Sync,
    ) -> Result<T, Problem>
    where
        D: Future<Output = Result<(Together, T), Problem>> + Send,
    {
        let mut repetitions = 0;
        loop {
            let streams = Together { store: self.store.clone(), metadata: metadata.clone(), appends: vec![] };
            let (streams, decided) = decide(streams).await?;
            match self.store.append(&streams.appends).await {
                Ok(position) => {
                    self.wait(position).await;
                    return Ok(decided);
                }
                Err(AppendFailure::Conflict) if repetitions < CONFLICT_RETRIES_MAX => repetitions += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Waits until every read model shows what is in the log now; says whether they do.
    pub(crate) async fn catch_up(&self) -> Result<bool, Problem> {
        let end = log_reader::last_committed(&mut *self.pool().acquire().await?).await?;
        Ok(self.wait(end).await)
    }

    /// Waits until every read model shows a fact; says whether they do.
    pub(crate) async fn wait(&self, position: Option<LogPosition>) -> bool {
        let Some(position) = position else { return true };
        let shown = self.projected.wait(position, PROJECTION_WAIT_MAX).await;
        if !shown {
            tracing::warn!(?position, "the read models are too slow to be waited for");
        }
        shown
    }
}

impl Together {
    /// Loads the aggregate of stream `id`.
    pub(crate) async fn load<A>(&self, id: Uuid) -> Result<Loaded<A>, Problem>
    where
        A: Decide,
        A::Error: Send + Sync + 'static,
    {
        Ok(self.store.load::<A>(id).await?)
    }

    /// Has the aggregate of stream `id` decide; what it refuses is answered by `refused`.
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

    /// Has an aggregate that was loaded before decide on several commands.
    pub(crate) fn decide_loaded<A>(
        &mut self,
        loaded: &mut Loaded<A>,
        commands: Vec<A::Command>,
        refused: impl FnOnce(A::Error) -> Problem,
    ) -> Result<Vec<A::Event>, Problem>
    where
        A: Decide,
    {
        let mut facts = vec![];
        for command in commands {
            match loaded.decide(command) {
                Ok(decided) => facts.extend(decided),
                Err(refusal) => return Err(refused(refusal)),
            }
        }
        let append = StreamAppend::new::<A>(loaded.id, loaded.version, &facts, &self.metadata)?;
        self.appends.push(append);
        Ok(facts)
    }
}
