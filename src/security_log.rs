//! Log of refusals that may belong to an attack, under the target `hooksentry::security`, and their number by kind.
//!
//! A flood of refusals must not fill the disk with lines: of each kind a bounded number is written within a minute. The
//! metric `hooksentry_security_events_total` counts all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aggregates::ids::{TenantId, UserId};

/// Largest number of lines of one kind within a minute.
const LINES_MAX: u32 = 120;
const WINDOW: Duration = Duration::from_secs(60);

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) tenant_id: TenantId,
    /// `None`: no user, such as with an API key.
    pub(crate) user_id: Option<UserId>,
}

/// A refusal that may belong to an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecurityEvent<'a> {
    /// What happened. There is a small number of kinds, because they label a metric.
    pub(crate) kind: &'static str,
    /// Template of the path, without its ids and tokens.
    pub(crate) route: &'a str,
    pub(crate) subject: Option<Subject>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: Option<&'a str>,
}

/// Counts an event, and writes a line about it unless there were many of its kind.
pub(crate) fn report(event: SecurityEvent<'_>) {
    metrics::counter!("hooksentry_security_events_total", "kind" => event.kind).increment(1);
    let Some(left_out) = admit(event.kind, Instant::now()) else { return };
    tracing::info!(
        target: "hooksentry::security",
        kind = event.kind,
        route = event.route,
        tenant.id = event.subject.map(|subject| tracing::field::display(subject.tenant_id)),
        user.id = event.subject.and_then(|subject| subject.user_id).map(tracing::field::display),
        client.address = event.client.map(tracing::field::display),
        request.id = event.request_id,
        lines_left_out = (left_out > 0).then_some(left_out),
        "a request was refused",
    );
}

/// Lines of one kind within the current minute.
struct Window {
    started: Instant,
    lines: u32,
    left_out: u32,
}

/// Returns whether a line may be written, and if so how many were not written in the minute before.
fn admit(kind: &'static str, now: Instant) -> Option<u32> {
    static WINDOWS: LazyLock<Mutex<HashMap<&'static str, Window>>> = LazyLock::new(Mutex::default);
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    let window = windows.entry(kind).or_insert(Window { started: now, lines: 0, left_out: 0 });
    let mut left_out = 0;
    if now.saturating_duration_since(window.started) >= WINDOW {
        left_out = window.left_out;
        *window = Window { started: now, lines: 0, left_out: 0 };
    }
    if window.lines >= LINES_MAX {
        window.left_out = window.left_out.saturating_add(1);
        return None;
    }
    window.lines += 1;
    Some(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_a_bounded_number_of_lines_a_minute() {
        let start = Instant::now();
        let written = (0..1_000).filter(|_| admit("flood", start).is_some()).count();
        assert_eq!(written, LINES_MAX as usize);
        assert_eq!(admit("another kind", start), Some(0));
        assert_eq!(admit("flood", start + WINDOW / 2), None);
        assert_eq!(admit("flood", start + WINDOW), Some(1_000 - LINES_MAX + 1));
        assert_eq!(admit("flood", start + WINDOW), Some(0));
    }
}
