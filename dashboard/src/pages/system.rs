//! `/system`: the state of the installation, for those who operate it.

use askama::Template;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;

use crate::api::health::{Backlog, Lead, ReadModel, Readiness};
use crate::clock;
use crate::session::Session;
use crate::text::times::{Moment, duration, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::words::{StatusWords, Tone, spoken};

/// Seconds that an event may be due before the page marks it.
const OVERDUE_SECONDS: f64 = 60.0;

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage {
    frame: Frame,
    state: StatusWords,
    /// Why the service cannot work; empty: it can.
    detail: String,
    readiness: Readiness,
    models: Vec<ModelRow>,
    leads: Vec<LeadRow>,
    behind: String,
    oldest_commit: String,
    checked: Option<Moment>,
    signed: Option<Moment>,
    backlog: Option<BacklogTiles>,
    /// Position of the last fact of the log, and when it was recorded.
    log_head: Option<(String, Moment)>,
}

/// What is to be delivered, in words.
#[derive(Debug, PartialEq, Eq)]
struct BacklogTiles {
    waiting: String,
    due: String,
    is_overdue: bool,
    in_progress: String,
}

/// State of a read model.
struct ModelRow {
    name: String,
    halted: bool,
    facts: u64,
    behind: String,
}

/// A role that one process performs at a time.
struct LeadRow {
    role: String,
    leads: bool,
    confirmed: String,
}

/// Shows the state.
///
/// # Errors
/// The API does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let readiness = session.api.readiness().await?;
    let now = clock::now();
    let behind = readiness.projections.iter().map(|model| model.lag_seconds).fold(0.0, f64::max);
    let page = SystemPage {
        frame: Frame::of(&session, Section::System, "System"),
        state: state(&readiness),
        detail: readiness.detail.clone(),
        models: readiness.projections.iter().map(ModelRow::of).collect(),
        leads: readiness.leads.iter().map(LeadRow::of).collect(),
        behind: seconds(behind),
        oldest_commit: seconds(readiness.oldest_commit_seconds),
        checked: readiness.completeness.checked_at.map(|at| Moment::of(at, now)),
        signed: readiness.evidence.last_checkpoint_at.map(|at| Moment::of(at, now)),
        backlog: readiness.backlog.as_ref().map(BacklogTiles::of),
        log_head: readiness
            .log_head
            .as_ref()
            .map(|head| (grouped(head.position), Moment::of(head.recorded_at, now))),
        readiness,
    };
    Ok(View(page).into_response())
}

fn state(readiness: &Readiness) -> StatusWords {
    let (label, meaning, next, tone) = match readiness.status.as_str() {
        Some("ready") => ("Ready", "Everything works.", "", Tone::Good),
        Some("degraded") => (
            "Degraded",
            "Events are accepted, but something below needs attention.",
            "What is marked says what.",
            Tone::Waiting,
        ),
        _ => ("Not ready", "The service cannot work.", "", Tone::Bad),
    };
    StatusWords { label, meaning, next, tone }
}

impl BacklogTiles {
    fn of(backlog: &Backlog) -> Self {
        let more = if backlog.is_lower_bound { "more than " } else { "" };
        let due = match backlog.due {
            0 => "none could be sent now".to_owned(),
            due => {
                let oldest = seconds(backlog.oldest_due_seconds);
                format!("{more}{} due, the oldest for {oldest}", grouped(due))
            }
        };
        Self {
            waiting: format!("{more}{}", grouped(backlog.waiting)),
            due,
            is_overdue: backlog.oldest_due_seconds > OVERDUE_SECONDS,
            in_progress: grouped(backlog.in_progress),
        }
    }
}

impl ModelRow {
    fn of(model: &ReadModel) -> Self {
        Self {
            name: spoken(&model.name.replace('_', " ")),
            halted: model.halted,
            facts: model.lag_facts,
            behind: seconds(model.lag_seconds),
        }
    }
}

impl LeadRow {
    fn of(lead: &Lead) -> Self {
        let confirmed = format!("confirmed {} ago", seconds(lead.confirmed_seconds_ago));
        Self { role: spoken(&lead.role), leads: lead.leads, confirmed }
    }
}

/// Returns a number of seconds as a duration.
fn seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a millisecond is enough")]
    let milliseconds = (seconds * 1_000.0) as i64;
    duration(TimeDelta::try_milliseconds(milliseconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn label(answer: serde_json::Value) -> &'static str {
        state(&serde_json::from_value(answer).unwrap()).label
    }

    #[test]
    fn every_answer_of_the_health_check_has_words() {
        assert_eq!(label(json!({ "status": "ready", "oldestCommitSeconds": 0.5 })), "Ready");
        assert_eq!(label(json!({ "status": "degraded", "quarantinedStreams": 2 })), "Degraded");
        let problem = json!({ "type": "about:blank", "status": 503, "detail": "Not ready: no database." });
        assert_eq!(label(problem), "Not ready");
    }

    #[test]
    fn the_backlog_says_what_could_be_sent_and_since_when() {
        let tiles = |backlog: serde_json::Value| {
            let tiles = BacklogTiles::of(&serde_json::from_value(backlog).unwrap());
            (tiles.waiting, tiles.due, tiles.is_overdue)
        };
        let said = |waiting: &str, due: &str, is_overdue| (waiting.to_owned(), due.to_owned(), is_overdue);
        assert_eq!(tiles(json!({ "waiting": 3 })), said("3", "none could be sent now", false));
        assert_eq!(
            tiles(json!({ "waiting": 10, "due": 2, "oldestDueSeconds": 90.0 })),
            said("10", "2 due, the oldest for 1 min 30 s", true)
        );
        assert_eq!(
            tiles(json!({ "waiting": 900, "due": 900, "oldestDueSeconds": 0.5, "isLowerBound": true })),
            said("more than 900", "more than 900 due, the oldest for 500 ms", false)
        );
    }

    #[test]
    fn seconds_are_durations() {
        for (number, text) in [(0.0, "0 ms"), (0.25, "250 ms"), (65.0, "1 min 5 s")] {
            assert_eq!(seconds(number), text);
        }
    }
}
