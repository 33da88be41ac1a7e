//! How many files the process may have open: every connection is one.

use std::num::NonZeroU16;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but attempts: connections to PostgreSQL, to the broker, and of callers.
const FOR_OTHERS: u64 = 1_024;
/// Files of one attempt: its connection, and one that is kept for the next.
const FOR_AN_ATTEMPT: u64 = 2;

/// Makes sure that `wanted` attempts at once find files enough, as far as the system lets us, and answers
/// with how many do.
///
/// An attempt without a file would count as its destination's failure, so it is better not begun.
pub(crate) fn attempts_at_once(wanted: NonZeroU16) -> NonZeroU16 {
    let needed = FOR_OTHERS + FOR_AN_ATTEMPT * u64::from(wanted.get());
    let allowed = raise_to(needed);
    if allowed >= needed {
        return wanted;
    }
    let attempts = (allowed.saturating_sub(FOR_OTHERS) / FOR_AN_ATTEMPT).max(allowed / 8);
    let attempts = u16::try_from(attempts).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN);
    tracing::warn!(
        "only {allowed} files may be open, so at most {attempts} attempts are made at once; raise the limit \
         (ulimit -n) to {needed} for HOOKSENTRY_WORKER_CONCURRENCY={wanted}"
    );
    attempts.min(wanted)
}

/// Raises the process's own limit to `needed`, or as far as it may be, and answers with what it is then.
fn raise_to(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No number means no limit.
    let Some(current) = current.filter(|current| *current < needed) else { return needed };
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    }
}
