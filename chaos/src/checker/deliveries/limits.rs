//! Check of the concurrent requests of each destination.

use crate::checker::index::Index;
use crate::checker::{Invariant, TIMING_SLACK, Violations};
use crate::history::{Request, RequestEnd, RunTime};

/// Checks that no destination has more concurrent requests than its limit.
pub(super) fn check(index: &Index<'_>, violations: &mut Violations) {
    let history = index.history;
    for (number, destination) in history.destinations.iter().enumerate() {
        let mut changes: Vec<(RunTime, i32)> = Vec::new();
        for (id, event) in &index.events {
            let counted = event
                .requests
                .iter()
                .filter(|request| request.destination == number && !event.lost_attempt(request.attempt));
            debug_assert!(event.requests.iter().all(|request| request.event_id == *id));
            for request in counted {
                changes.push((request.began, 1));
                changes.push((permit_end(request, history.delivery_timeout), -1));
            }
        }
        // An end sorts before a beginning at the same time.
        changes.sort_unstable();
        let (mut current, mut most, mut at) = (0, 0, RunTime::ZERO);
        for (time, change) in changes {
            current += change;
            if current > most {
                (most, at) = (current, time);
            }
        }
        if usize::try_from(most).is_ok_and(|most| most > destination.limit) {
            let text = format!(
                "destination {number} had {most} requests at {:.3} s; its limit is {}",
                at.as_secs_f64(),
                destination.limit
            );
            violations.add(Invariant::WithinLimit, text);
        }
    }
}

/// Returns the time at which the worker may give the request's permit to another one, and the event another attempt. A receiver notices a
/// closed connection later than the worker that closed it.
pub(super) fn permit_end(request: &Request, delivery_timeout: RunTime) -> RunTime {
    match request.end {
        RequestEnd::Answered(_) => request.ended_for_sender(delivery_timeout),
        RequestEnd::Aborted => {
            let limit = request.began + delivery_timeout.saturating_sub(TIMING_SLACK);
            request.ended.min(limit).max(request.began)
        }
    }
}
