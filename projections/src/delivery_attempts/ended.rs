//! Ends of attempts as columns.

use aggregates::attempt_outcome::AttemptReport;
use chrono::{DateTime, Utc};

use crate::columns::without_nul;
use crate::logged_fact::LoggedFact;

/// End of an attempt in a batch of facts.
#[derive(Clone, Copy)]
pub(super) struct Finished<'a> {
    pub(super) logged: &'a LoggedFact,
    pub(super) report: &'a AttemptReport,
    pub(super) at: DateTime<Utc>,
}

/// The columns of the ends of attempts, as parameters of `unnest`.
#[derive(Default)]
pub(super) struct EndColumns {
    pub(super) finished_at: Vec<Option<DateTime<Utc>>>,
    pub(super) outcome: Vec<Option<String>>,
    pub(super) http_status: Vec<Option<i32>>,
    pub(super) duration_ms: Vec<Option<i64>>,
    pub(super) address: Vec<Option<String>>,
    pub(super) detail: Vec<Option<String>>,
}

impl EndColumns {
    pub(super) fn of<'a>(ends: impl Iterator<Item = Option<Finished<'a>>>) -> Self {
        // Responses may contain NUL, which columns cannot.
        let stored = |text: Option<&String>| text.map(|text| without_nul(text));
        let mut columns = Self::default();
        for end in ends {
            let report = end.map(|end| end.report);
            columns.finished_at.push(end.map(|end| end.at));
            columns.outcome.push(report.map(|report| report.outcome.name().to_owned()));
            columns.http_status.push(report.and_then(|report| report.status).map(i32::from));
            columns
                .duration_ms
                .push(report.map(|report| i64::try_from(report.duration_ms).unwrap_or(i64::MAX)));
            columns.address.push(stored(report.and_then(|report| report.address.as_ref())));
            columns.detail.push(stored(report.and_then(|report| report.detail.as_ref())));
        }
        columns
    }
}
