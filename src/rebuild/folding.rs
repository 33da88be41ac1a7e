//! Folding the log into generations, page by page.
//!
//! Generations at the same place of the log fold each page together, so that several cost one reading. The
//! next page is read while one is folded.

use std::time::Duration;

use aggregates::fact::Fact;
use projections::{LogPosition, Projection};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::shadow_tables::{Generation, ShadowTables};
use super::tables::Purpose;
use super::{News, RebuildFailure, record};
use crate::event_store;
use crate::event_store::log_reader::{self, LogRange};
use crate::projector::apply_page::{NotApplied, apply_all, apply_until_failure};
use crate::projector::page::Page;

/// How long a transaction may take, about. Longer, and the dispatcher waits for facts that it could act on;
/// shorter, and less is folded before it is written.
const TRANSACTION_ABOUT: Duration = Duration::from_millis(100);
/// Facts in one transaction, at least and at most.
const PAGE_FACTS_MIN: i64 = 100;
const PAGE_FACTS_MAX: i64 = 20_000;

impl ShadowTables {
    /// Folds each of `generations` up to its target.
    pub(super) async fn fold(
        &mut self,
        generations: &mut [Generation],
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        let is_behind = |generation: &Generation| generation.position < generation.target;
        while let Some(from) = generations.iter().filter(|it| is_behind(it)).map(|it| it.position).min() {
            let is_of_cohort = |it: &Generation| is_behind(it) && it.position == from;
            let cohort: Vec<Projection> =
                generations.iter().filter(|it| is_of_cohort(it)).map(|it| it.projection).collect();
            // Not beyond those that are further, so that they meet there.
            let bounds = generations.iter().map(|it| if is_of_cohort(it) { it.target } else { it.position });
            let until = bounds.filter(|bound| *bound > from).min().unwrap_or(from);
            let farthest = generations.iter().map(|it| it.target).max().unwrap_or(until);
            self.fold_cohort(&cohort, from, until, &mut |facts, reached| {
                report(News::Folded { facts, reached, target: farthest });
            })
            .await?;
            for generation in generations.iter_mut().filter(|it| cohort.contains(&it.projection)) {
                generation.position = until;
            }
        }
        Ok(())
    }

    /// Folds `cohort`, which stands at `from`, up to `until`.
    async fn fold_cohort(
        &mut self,
        cohort: &[Projection],
        from: LogPosition,
        until: LogPosition,
        report: &mut (dyn FnMut(usize, LogPosition) + Send),
    ) -> Result<(), RebuildFailure> {
        let folds = |aggregate: &&str| cohort.iter().any(|projection| projection.folds(aggregate));
        let aggregates: Vec<String> = Fact::AGGREGATES.into_iter().filter(folds).map(str::to_owned).collect();
        let Self { writer, reader, purpose, page_facts, .. } = self;
        let mut from = from;
        let mut stretch = log_reader::read_range(reader, &aggregates, from, until, *page_facts).await?;
        while let Some(last) = stretch.last {
            let facts = stretch.facts;
            let page = Page::parse(stretch.rows);
            let read_ahead = async {
                if last >= until {
                    return Ok(LogRange::default());
                }
                log_reader::read_range(reader, &aggregates, last, until, *page_facts).await
            };
            let began = Instant::now();
            let (applied, ahead) =
                tokio::join!(apply(writer, cohort, from, last, &page, *purpose), read_ahead);
            applied?;
            stretch = ahead?;
            *page_facts = next_page_facts(*page_facts, facts, began.elapsed());
            from = last;
            report(facts, last);
        }
        Ok(())
    }
}

/// How large the next page is after one of so many facts took so long.
fn next_page_facts(page_facts: i64, facts: usize, took: Duration) -> i64 {
    let is_full = usize::try_from(page_facts).is_ok_and(|full| facts >= full);
    let next = match took {
        took if took > TRANSACTION_ABOUT * 3 / 2 => page_facts / 2,
        took if took < TRANSACTION_ABOUT / 2 && is_full => page_facts * 2,
        _ => page_facts,
    };
    next.clamp(PAGE_FACTS_MIN, PAGE_FACTS_MAX)
}

/// Folds a page, which ends at `last`, into the generations of `cohort`, which stand at `from`.
async fn apply(
    writer: &mut PgConnection,
    cohort: &[Projection],
    from: LogPosition,
    last: LogPosition,
    page: &Page,
    purpose: Purpose,
) -> Result<(), RebuildFailure> {
    let mut transaction = writer.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    match apply_all(&mut transaction, cohort, page).await {
        Ok(_) => {}
        Err(NotApplied::Database(error)) => return Err(error.into()),
        Err(NotApplied::Fact) => {
            transaction.rollback().await?;
            return Err(find_inapplicable_fact(writer, cohort, from, page).await?);
        }
    }
    if purpose == Purpose::ToServe {
        record::advance(&mut transaction, cohort, last).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Finds the fact of a page that does not apply.
async fn find_inapplicable_fact(
    writer: &mut PgConnection,
    cohort: &[Projection],
    from: LogPosition,
    page: &Page,
) -> Result<RebuildFailure, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    let outcomes = apply_until_failure(&mut transaction, cohort, from, page).await?;
    transaction.rollback().await?;
    let misfit = outcomes.into_iter().find_map(|outcome| {
        let because = outcome.halted_because?;
        Some(RebuildFailure::SequenceGap { projection: outcome.projection, because })
    });
    // Facts that apply one by one, and not together.
    Ok(misfit.unwrap_or_else(|| RebuildFailure::SequenceGap {
        projection: cohort[0],
        because: format!("the facts after {from:?} do not apply together"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_they_are_quick_and_shrink_when_they_are_slow() {
        let (quick, slow) = (TRANSACTION_ABOUT / 10, TRANSACTION_ABOUT * 2);
        assert_eq!(next_page_facts(1_000, 1_000, quick), 2_000);
        assert_eq!(next_page_facts(1_000, 1_000, TRANSACTION_ABOUT), 1_000);
        assert_eq!(next_page_facts(1_000, 1_000, slow), 500);
        // A page that was not full says nothing about a full one.
        assert_eq!(next_page_facts(1_000, 10, quick), 1_000);
        assert_eq!(next_page_facts(PAGE_FACTS_MAX, 20_000, quick), PAGE_FACTS_MAX);
        assert_eq!(next_page_facts(PAGE_FACTS_MIN, 100, slow), PAGE_FACTS_MIN);
    }
}
