//! Replacing the live tables with shadow tables, while readers continue.
//!
//! No answer may go backwards. A reader whose snapshot is older than the last facts of the shadow tables, but who
//! reads the table only after the swap, would find the new tables without those facts. So:
//!
//! 1. The checkpoint is held: the live rows do not change for a moment. The projector continues with its other
//!    projections.
//! 2. The shadow tables are folded up to exactly that position, and committed.
//! 3. All transactions with an older snapshot are waited for. Newer snapshots see the same rows in the old tables and
//!    in the new ones.
//! 4. Under a lock with a short timeout, so that readers never queue long behind it, the tables are exchanged and the
//!    checkpoint is released, all in one transaction.
//!
//! What does not succeed while the checkpoint may be held is tried again after the projector has caught up. A hold
//! expires by itself, so a crash at any step does no harm.

use std::time::Duration;

use projections::checkpoints::{self, Held};
use projections::retention;
use sqlx::Connection;
use tokio::time::{Instant, sleep};

use super::blockers::is_lock_failure;
use super::shadow_schema::{ShadowSchema, ShadowTables};
use super::{Progress, RebuildFailure, live_tables, record};
use crate::event_store::{self, log_reader};

/// Longest hold of a checkpoint. Callers that wait for the read model wait as long; the timeout of commands is
/// longer.
const HOLD_MAX: Duration = Duration::from_secs(3);
/// Time before the end of a hold from which no further attempt begins.
const HOLD_MARGIN: Duration = Duration::from_millis(500);
/// Timeout of the lock on the live tables; readers queue behind it.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(100);
/// Delay before asking for the lock again.
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Number of holds after which the swap fails.
const HOLDS_MAX: u32 = 10;
/// Bounds of the pause between two holds, in which the projector catches up.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Result of one hold.
enum SwapAttempt {
    Swapped,
    /// The reason why not.
    Blocked(String),
}

impl ShadowSchema {
    /// Replaces the live tables with `shadow`, which is nearly at their position.
    pub(super) async fn swap(
        &mut self,
        shadow: &mut ShadowTables,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        let projection = shadow.projection;
        report(Progress::Swapping(projection));
        let mut pause = PAUSE_MIN;
        let mut obstacle = String::new();
        for _ in 0..HOLDS_MAX {
            self.catch_up(std::slice::from_mut(shadow), report).await?;
            let began = Instant::now();
            let held = checkpoints::hold(&mut self.reader, projection.name(), HOLD_MAX).await?;
            let attempt = self.swap_while_held(shadow, &held, began + HOLD_MAX - HOLD_MARGIN, report).await;
            if !matches!(attempt, Ok(SwapAttempt::Swapped)) {
                checkpoints::release(&mut self.reader, projection.name()).await?;
            }
            match attempt? {
                SwapAttempt::Swapped => {
                    report(Progress::Swapped(projection));
                    return Ok(());
                }
                SwapAttempt::Blocked(reason) => obstacle = reason,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(RebuildFailure::SwapBlocked { projection, obstacle })
    }

    async fn swap_while_held(
        &mut self,
        shadow: &mut ShadowTables,
        held: &Held,
        deadline: Instant,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<SwapAttempt, RebuildFailure> {
        if shadow.position > held.position && !held.halted {
            // The shadow tables were folded while the live rows had halted, and those have not caught up since.
            return Ok(SwapAttempt::Blocked(
                "the live rows are behind the rebuilt ones; is a projector running?".to_owned(),
            ));
        }
        // Live rows that have halted stay at their position; the shadow tables are folded to the end of the log.
        let end = match held.halted {
            true => log_reader::last_settled(&mut self.reader).await?,
            false => held.position,
        };
        shadow.target = end.max(shadow.position);
        self.fold(std::slice::from_mut(shadow), report).await?;

        if let Some(blocker) = self.wait_for_older_snapshots(deadline).await? {
            return Ok(SwapAttempt::Blocked(blocker));
        }
        while Instant::now() < deadline {
            match self.exchange_tables(shadow, held).await {
                Ok(true) => return Ok(SwapAttempt::Swapped),
                Ok(false) => return Ok(SwapAttempt::Blocked("the live rows changed meanwhile".to_owned())),
                Err(RebuildFailure::Database(error)) if is_lock_failure(&error) => {
                    sleep(LOCK_AGAIN_AFTER).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(SwapAttempt::Blocked("long transactions kept locking the live tables".to_owned()))
    }

    /// Exchanges the tables and releases the checkpoint. Returns `false`, and changes nothing, when the checkpoint is
    /// not as it was when it was held, or retention is not paused any more.
    async fn exchange_tables(&mut self, shadow: &ShadowTables, held: &Held) -> Result<bool, RebuildFailure> {
        let projection = shadow.projection;
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
        // The tables first: the projector writes to them before it locks the checkpoint.
        live_tables::lock(&mut transaction, projection).await?;
        if live_tables::definition(&mut transaction, projection).await? != shadow.definition {
            return Err(RebuildFailure::DefinitionChanged { projection });
        }
        let name = projection.name();
        // This process may have been stopped for so long that the server ended the pause: retention may have removed
        // rows that the shadow tables have.
        if !retention::is_paused(&mut transaction).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        if !checkpoints::replace(&mut transaction, name, held, shadow.position).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        live_tables::replace(&mut transaction, self.name, projection).await?;
        record::remove(&mut transaction, name).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
