//! Folding the log into shadow tables, page by page.
//!
//! Projections at the same position form a cohort that folds each page together, so that the log is read once for
//! all of them. The next page is read while one is folded.

use std::time::Duration;

use aggregates::fact::Fact;
use projections::quarantine::Quarantine;
use projections::{LogPosition, Projection};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::ddl::ShadowKind;
use super::shadow_schema::{ShadowSchema, ShadowTables};
use super::{Progress, RebuildFailure, record};
use crate::event_store;
use crate::event_store::log_reader::{self, LogRange};
use crate::projector::apply_page::{NotApplied, apply_all, apply_until_failure};
use crate::projector::page::Page;

/// Target duration of a transaction. Higher: an interrupted rebuild takes longer to stop. Lower: some rows are written
/// more often.
const TRANSACTION_TARGET: Duration = Duration::from_millis(100);
/// Bounds of the number of facts in one transaction.
const PAGE_FACTS_MIN: i64 = 100;
const PAGE_FACTS_MAX: i64 = 20_000;
/// Number of facts that may be missing when a checkpoint is held: they are folded during the hold.
const MISSING_FACTS_MAX: i64 = 1_000;

impl ShadowSchema {
    /// Folds `shadows` until so few facts are missing that they can be folded during a hold.
    pub(super) async fn catch_up(
        &mut self,
        shadows: &mut [ShadowTables],
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        loop {
            let mut missing = 0;
            for shadow in shadows.iter_mut() {
                self.set_target(shadow).await?;
                if shadow.target > shadow.position {
                    missing = missing.max(shadow.target.position - shadow.position.position);
                }
            }
            if missing <= MISSING_FACTS_MAX {
                return Ok(());
            }
            self.fold(shadows, report).await?;
        }
    }

    /// Sets the target to the position of the live rows, or to the end of the log if those have halted.
    pub(super) async fn set_target(&mut self, shadow: &mut ShadowTables) -> Result<(), sqlx::Error> {
        let live = self.checkpoint(shadow.projection).await?;
        let target = match live.halted_because {
            Some(_) => log_reader::last_settled(&mut self.reader).await?,
            None => live.position,
        };
        shadow.target = target.max(shadow.position);
        Ok(())
    }

    /// Folds each of `shadows` up to its target.
    pub(super) async fn fold(
        &mut self,
        shadows: &mut [ShadowTables],
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        let is_behind = |shadow: &ShadowTables| shadow.position < shadow.target;
        while let Some(from) = shadows.iter().filter(|it| is_behind(it)).map(|it| it.position).min() {
            let is_of_cohort = |it: &ShadowTables| is_behind(it) && it.position == from;
            let cohort: Vec<Projection> =
                shadows.iter().filter(|it| is_of_cohort(it)).map(|it| it.projection).collect();
            // Not beyond the position of the next cohort, so that the two meet there.
            let bounds = shadows.iter().map(|it| if is_of_cohort(it) { it.target } else { it.position });
            let until = bounds.filter(|bound| *bound > from).min().unwrap_or(from);
            let farthest = shadows.iter().map(|it| it.target).max().unwrap_or(until);
            self.fold_cohort(&cohort, from, until, &mut |facts, reached| {
                report(Progress::Folded { facts, reached, target: farthest });
            })
            .await?;
            for shadow in shadows.iter_mut().filter(|it| cohort.contains(&it.projection)) {
                shadow.position = until;
            }
        }
        Ok(())
    }

    /// Folds `cohort` from the position `from` up to `until`.
    async fn fold_cohort(
        &mut self,
        cohort: &[Projection],
        from: LogPosition,
        until: LogPosition,
        report: &mut (dyn FnMut(usize, LogPosition) + Send),
    ) -> Result<(), RebuildFailure> {
        let folds = |aggregate: &&str| cohort.iter().any(|projection| projection.folds(aggregate));
        let aggregates: Vec<String> = Fact::AGGREGATES.into_iter().filter(folds).map(str::to_owned).collect();
        let Self { writer, reader, kind, page_facts, quarantine, .. } = self;
        let mut from = from;
        let mut range = log_reader::read_range(reader, &aggregates, from, until, *page_facts).await?;
        while let Some(last) = range.last {
            let facts = range.facts;
            let mut page = Page::parse(range.rows);
            page.skip(quarantine);
            let read_ahead = async {
                if last >= until {
                    return Ok(LogRange::default());
                }
                log_reader::read_range(reader, &aggregates, last, until, *page_facts).await
            };
            let began = Instant::now();
            let (applied, ahead) =
                tokio::join!(apply(writer, quarantine, cohort, from, last, &mut page, *kind), read_ahead);
            applied?;
            range = ahead?;
            *page_facts = next_page_facts(*page_facts, facts, began.elapsed());
            from = last;
            report(facts, last);
        }
        Ok(())
    }
}

/// Returns the size of the next page, after one of `facts` facts took this long.
fn next_page_facts(page_facts: i64, facts: usize, took: Duration) -> i64 {
    let is_full = usize::try_from(page_facts).is_ok_and(|full| facts >= full);
    let next = match took {
        took if took > TRANSACTION_TARGET * 3 / 2 => page_facts / 2,
        took if took < TRANSACTION_TARGET / 2 && is_full => page_facts * 2,
        _ => page_facts,
    };
    next.clamp(PAGE_FACTS_MIN, PAGE_FACTS_MAX)
}

/// Applies a page, which ends at `last`, to a cohort whose position is `from`, in one transaction.
async fn apply(
    writer: &mut PgConnection,
    quarantine: &mut Quarantine,
    cohort: &[Projection],
    from: LogPosition,
    last: LogPosition,
    page: &mut Page,
    kind: ShadowKind,
) -> Result<(), RebuildFailure> {
    let mut transaction = loop {
        let mut transaction = writer.begin().await?;
        event_store::mark_non_appending(&mut transaction).await?;
        let reason = match apply_all(&mut transaction, cohort, page).await {
            Ok(_) => break transaction,
            Err(NotApplied::Transient(failure)) => return Err(failure.into()),
            Err(reason) => reason,
        };
        transaction.rollback().await?;
        let is_gap = matches!(reason, NotApplied::Gap);
        if !is_gap || quarantine.find(writer, page.facts()).await?.is_empty() {
            return Err(find_inapplicable_fact(writer, cohort, from, page).await?);
        }
        page.skip(quarantine);
    };
    if kind == ShadowKind::Replacement {
        record::advance(&mut transaction, cohort, last).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Finds the fact of a page that does not apply, and returns it as the failure.
async fn find_inapplicable_fact(
    writer: &mut PgConnection,
    cohort: &[Projection],
    from: LogPosition,
    page: &Page,
) -> Result<RebuildFailure, RebuildFailure> {
    let mut transaction = writer.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    let applied = apply_until_failure(&mut transaction, cohort, from, page).await?;
    transaction.rollback().await?;
    let failure = applied.into_iter().find_map(|applied| {
        let because = applied.halted_because?;
        Some(RebuildFailure::NotFoldable { projection: applied.projection, because })
    });
    // The facts apply one by one, but not together.
    Ok(failure.unwrap_or_else(|| RebuildFailure::NotFoldable {
        projection: cohort[0],
        because: format!("the facts after {from:?} do not apply together"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_they_are_fast_and_shrink_when_they_are_slow() {
        let (quick, slow) = (TRANSACTION_TARGET / 10, TRANSACTION_TARGET * 2);
        assert_eq!(next_page_facts(1_000, 1_000, quick), 2_000);
        assert_eq!(next_page_facts(1_000, 1_000, TRANSACTION_TARGET), 1_000);
        assert_eq!(next_page_facts(1_000, 1_000, slow), 500);
        // A page that was not full says nothing about a full one.
        assert_eq!(next_page_facts(1_000, 10, quick), 1_000);
        assert_eq!(next_page_facts(PAGE_FACTS_MAX, 20_000, quick), PAGE_FACTS_MAX);
        assert_eq!(next_page_facts(PAGE_FACTS_MIN, 100, slow), PAGE_FACTS_MIN);
    }
}
