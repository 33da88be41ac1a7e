//! `/system`: the state of the installation, for those who operate it.

use askama::Template;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;

use crate::api::health::{Lead, ReadModel, Readiness};
use crate::clock;
use crate::session::Session;
use crate::text::times::{Moment, duration, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::words::{StatusWords, Tone, spoken};

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
    fn seconds_are_durations() {
        for (number, text) in [(0.0, "0 ms"), (0.25, "250 ms"), (65.0, "1 min 5 s")] {
            assert_eq!(seconds(number), text);
        }
    }
}
