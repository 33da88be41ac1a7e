//! Report of a run: a table of fault kinds.

use std::fmt::Write;
use std::time::Duration;

use crate::checker::{FaultEffect, Verdict};
use crate::faults::FaultKind;
use crate::history::{AnswerResult, History, RequestEnd};

/// Returns the report of a run as Markdown.
#[must_use]
pub fn report(history: &History, verdict: &Verdict) -> String {
    let mut text = String::from(
        "| Fault | Count | Standstill during, one / all (s) | Standstill after, one / all (s) | Duplicates |\n\
         |---|---:|---:|---:|---:|\n",
    );
    for kind in FaultKind::ALL {
        let effects: Vec<&FaultEffect> =
            verdict.effects.iter().filter(|effect| effect.kind == kind).collect();
        if !effects.is_empty() {
            row(&mut text, kind, &effects);
        }
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nSeed {}: {}", history.seed, totals(history, verdict));
    text
}

fn row(text: &mut String, kind: FaultKind, effects: &[&FaultEffect]) {
    let longest = |of: fn(&FaultEffect) -> Duration| {
        effects.iter().map(|effect| of(effect)).max().unwrap_or_default().as_secs_f64()
    };
    let _ = writeln!(
        text,
        "| {kind} | {} | {:.1} / {:.1} | {:.1} / {:.1} | {} |",
        effects.len(),
        longest(|effect| effect.during.one),
        longest(|effect| effect.during.all),
        longest(|effect| effect.after.one),
        longest(|effect| effect.after.all),
        effects.iter().map(|effect| effect.duplicates).sum::<usize>(),
    );
}

fn totals(history: &History, verdict: &Verdict) -> String {
    let answers = || history.sent.iter().flat_map(|sent| &sent.answers);
    let count = |wanted: fn(AnswerResult) -> bool| answers().filter(|answer| wanted(answer.result)).count();
    let answered = history.requests.iter().filter(|request| matches!(request.end, RequestEnd::Answered(_)));
    format!(
        "{} webhooks sent in {} requests ({} answered 202, {} answered 503, {} answered 422, {} without an answer); \
         {} events accepted, {} lost by a standby by design; {} delivery requests, {} of them answered, {} duplicates; \
         {} faults; {} facts in the log; {} violations.",
        history.sent.len(),
        answers().count(),
        count(|result| matches!(result, AnswerResult::Accepted(_))),
        count(|result| result == AnswerResult::Refused(503)),
        count(|result| result == AnswerResult::Refused(422)),
        count(|result| result == AnswerResult::Missing),
        verdict.accepted,
        verdict.lost_by_standby,
        history.requests.len(),
        answered.count(),
        verdict.duplicates,
        history.faults.len(),
        history.facts.len(),
        verdict.violations.len(),
    )
}
