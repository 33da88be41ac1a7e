//! Putting a generation in the place of the live tables, while everybody goes on reading.
//!
//! No answer may go backwards. A reader whose snapshot is older than the generation's last facts, but who
//! touches the table only after the swap, would find the new tables without those facts. So:
//!
//! 1. The checkpoint is held: the live rows stand still, for moments. The projector leads its other
//!    projections on meanwhile.
//! 2. The generation is folded up to exactly that place, and committed.
//! 3. Whoever has an older snapshot is waited for. New ones see the same in the old tables and the new.
//! 4. Under a lock that waits only briefly, so that readers never queue long behind it, the tables change
//!    places and the checkpoint is let go, all in one transaction.
//!
//! What does not succeed while the checkpoint may be held is tried again after the projector has gone on. A
//! hold ends by itself, so it does no harm to die anywhere in this.

use std::time::Duration;

use projections::checkpoints::{self, Held};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::shadow_tables::{Generation, ShadowTables};
use super::{News, RebuildFailure, live_tables, record, run};
use crate::event_store::{self, log_reader};

/// How long a checkpoint is held at most. Whoever waits for the read model waits as long; commands have more
/// patience than that.
const HOLD_MAX: Duration = Duration::from_secs(3);
/// How long before that nothing new is begun.
const HOLD_MARGIN: Duration = Duration::from_millis(500);
/// How long the lock on the live tables may be waited for, while readers queue behind it.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(100);
/// How soon to look again whether older snapshots are gone, and to ask for the lock again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often the checkpoint is held before the generation is given up for now.
const HOLDS_MAX: u32 = 10;
/// How long the projector may go on between two holds, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// PostgreSQL's codes for a lock that was not granted in time, and for a deadlock that ended so.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const DEADLOCK: &str = "40P01";

/// What came of a hold.
enum Ended {
    Swapped,
    /// This was in the way.
    InTheWay(String),
}

impl ShadowTables {
    /// Puts `generation`, which is nearly as far as the live rows, in their place.
    pub(super) async fn swap(
        &mut self,
        generation: &mut Generation,
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        let projection = generation.projection;
        report(News::Swapping(projection));
        let mut pause = PAUSE_MIN;
        let mut obstacle = String::new();
        for _ in 0..HOLDS_MAX {
            self.catch_up(std::slice::from_mut(generation), report).await?;
            let began = Instant::now();
            let held = checkpoints::hold(&mut self.reader, projection.name(), HOLD_MAX).await?;
            let ended = self.swap_while_held(generation, &held, began + HOLD_MAX - HOLD_MARGIN, report).await;
            if !matches!(ended, Ok(Ended::Swapped)) {
                checkpoints::release(&mut self.reader, projection.name()).await?;
            }
            match ended? {
                Ended::Swapped => {
                    report(News::Swapped(projection));
                    return Ok(());
                }
                Ended::InTheWay(what) => obstacle = what,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(RebuildFailure::NoRoom { projection, obstacle })
    }

    async fn swap_while_held(
        &mut self,
        generation: &mut Generation,
        held: &Held,
        deadline: Instant,
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<Ended, RebuildFailure> {
        if generation.position > held.position && !held.halted {
            // It was built while the live rows had halted, and they have not come as far since.
            return Ok(Ended::InTheWay("the live rows are behind it; does a projector run?".to_owned()));
        }
        // Live rows that have halted stand where they are; the new ones go as far as the log does.
        let end = match held.halted {
            true => log_reader::last_settled(&mut self.reader).await?,
            false => held.position,
        };
        generation.target = end.max(generation.position);
        self.fold(std::slice::from_mut(generation), report).await?;

        if let Some(older) = self.outlast_older_snapshots(deadline).await? {
            return Ok(Ended::InTheWay(older));
        }
        while Instant::now() < deadline {
            match self.change_places(generation, held).await {
                Ok(true) => return Ok(Ended::Swapped),
                Ok(false) => return Ok(Ended::InTheWay("the live rows moved in between".to_owned())),
                Err(RebuildFailure::Database(error)) if is_about_locks(&error) => sleep(LOOK_AGAIN).await,
                Err(failure) => return Err(failure),
            }
        }
        Ok(Ended::InTheWay("its live tables are never free of long transactions".to_owned()))
    }

    /// Why locks are not granted, in words.
    pub(super) async fn name_obstacle(&mut self) -> Result<String, sqlx::Error> {
        let oldest = holders_of_snapshots(&mut self.reader, None).await?.into_iter().next();
        Ok(oldest.map_or_else(|| "some transaction went on and on".to_owned(), |holder| holder.description))
    }

    /// Waits until every transaction has ended whose snapshot may be older than this call, and names one that
    /// has not by `deadline`.
    async fn outlast_older_snapshots(&mut self, deadline: Instant) -> Result<Option<String>, sqlx::Error> {
        let mut older = holders_of_snapshots(&mut self.reader, None).await?;
        while let Some(holder) = older.first() {
            if Instant::now() >= deadline {
                return Ok(Some(holder.description.clone()));
            }
            sleep(LOOK_AGAIN).await;
            let transactions: Vec<String> = older.into_iter().map(|holder| holder.transaction).collect();
            older = holders_of_snapshots(&mut self.reader, Some(&transactions)).await?;
        }
        Ok(None)
    }

    /// The swap itself. Answers `false`, and changes nothing, when the live rows are not as they were held.
    async fn change_places(&mut self, generation: &Generation, held: &Held) -> Result<bool, RebuildFailure> {
        let projection = generation.projection;
        let mut transaction = self.writer.begin().await?;
        sqlx::query!(
            r#"
            SELECT
                set_config('search_path', 'public', true) AS path,
                set_config('synchronous_commit', 'on', true) AS commit,
                set_config('lock_timeout', $1, true) AS wait
            "#,
            LOCK_WAIT_MAX.as_millis().to_string(),
        )
        .fetch_one(&mut *transaction)
        .await?;
        event_store::mark_non_appending(&mut transaction).await?;
        // The tables first: who writes to them locks the checkpoint last.
        live_tables::lock_live(&mut transaction, projection).await?;
        let definition = live_tables::definition(&mut transaction, projection).await?;
        if !run::is_made_by(generation, &definition) {
            return Err(RebuildFailure::Redefined { projection });
        }
        let name = projection.name();
        if !checkpoints::replace(&mut transaction, name, held, generation.position).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        live_tables::put_in_place(&mut transaction, self.schema, projection).await?;
        record::forget(&mut transaction, name).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// A transaction with a snapshot.
struct SnapshotHolder {
    /// Its virtual id, which no other transaction ever has.
    transaction: String,
    /// Who it is, for a person.
    description: String,
}

/// The transactions of this database that see by a snapshot, oldest first: all, or those of `among`.
async fn holders_of_snapshots(
    connection: &mut PgConnection,
    among: Option<&[String]>,
) -> Result<Vec<SnapshotHolder>, sqlx::Error> {
    sqlx::query_as!(
        SnapshotHolder,
        r#"
        SELECT
            virtualtransaction AS "transaction!",
            format(
                'a transaction of %s (PostgreSQL''s process %s) goes on and on',
                coalesce(nullif(application_name, ''), 'some program'), activity.pid
            ) AS "description!"
        FROM pg_stat_activity AS activity
        JOIN pg_locks AS lock ON lock.pid = activity.pid
        WHERE datname = current_database()
          AND backend_xmin IS NOT NULL
          -- Not the server's own: a vacuum reads no rows for anybody.
          AND usesysid IS NOT NULL
          AND activity.pid <> pg_backend_pid()
          AND locktype = 'virtualxid'
          AND virtualxid = virtualtransaction
          AND granted
          AND ($1::text[] IS NULL OR virtualtransaction = ANY($1))
        ORDER BY xact_start
        "#,
        among as Option<&[String]>,
    )
    .fetch_all(connection)
    .await
}

/// Whether a lock was not to be had.
pub(super) fn is_about_locks(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK)
}
