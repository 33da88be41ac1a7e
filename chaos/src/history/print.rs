//! The whole history of one event as text.

use std::fmt::Write;

use uuid::Uuid;

use super::{AnswerResult, History, RequestEnd, RunTime};

/// Returns everything in the history that concerns the event, in the order of time.
#[must_use]
pub fn print_event(history: &History, event_id: Uuid) -> String {
    let mut lines: Vec<(RunTime, String)> = Vec::new();
    let id = event_id.to_string();
    for sent in &history.sent {
        if !sent.answers.iter().any(|answer| answer.result == AnswerResult::Accepted(event_id)) {
            continue;
        }
        for answer in &sent.answers {
            let key = sent.idempotency_key.as_deref().unwrap_or("none");
            let text =
                format!("client      sends to destination {}, idempotency key {key}", sent.destination);
            lines.push((answer.began, text));
            lines.push((answer.ended, format!("client      gets {:?}", answer.result)));
        }
    }
    for request in history.requests.iter().filter(|request| request.event_id == event_id) {
        let attempt = request.attempt;
        lines.push((request.began, format!("receiver    gets attempt {attempt}")));
        let end = match request.end {
            RequestEnd::Answered(status) => format!("receiver    answers attempt {attempt} with {status}"),
            RequestEnd::Aborted => format!("receiver    loses the connection of attempt {attempt}"),
        };
        lines.push((request.ended, end));
    }
    for (source, facts) in [("log        ", &history.facts), ("lost primary", &history.lost_facts)] {
        for fact in facts.iter().filter(|fact| fact.is_of_event() && fact.aggregate_id == id) {
            let text =
                format!("{source} {} {} {}", fact.sequence, fact.event_type, fact.payload[&fact.event_type]);
            lines.push((fact.recorded, text));
        }
    }
    let first = lines.iter().map(|(time, _)| *time).min().unwrap_or_default();
    let last = lines.iter().map(|(time, _)| *time).max().unwrap_or_default();
    for fault in history.faults.iter().filter(|fault| fault.began <= last && fault.ended >= first) {
        lines.push((fault.began, format!("fault       {} of {} begins", fault.kind, fault.target)));
        lines.push((fault.ended, format!("fault       {} of {} ends", fault.kind, fault.target)));
    }
    lines.sort_by_key(|(time, _)| *time);
    let mut text = format!("event {event_id}:\n");
    for (time, line) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:10.3} s  {line}", time.as_secs_f64());
    }
    text
}
