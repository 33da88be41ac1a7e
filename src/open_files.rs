//! Limit of open files of the process: every connection is one.

use std::num::NonZeroU16;

/// Files for everything but attempts: connections to PostgreSQL and to the broker, connections of callers, and name
/// lookups.
const OTHER_FILES: u64 = 2_048;
/// Files of an attempt: its connection, and an idle one that is kept for the next attempt.
const FILES_OF_ATTEMPT: u64 = 2;

/// Raises the limit of open files for `wanted` concurrent attempts, as far as the system allows, and returns
/// how many attempts the limit suffices for.
///
/// An attempt that cannot open its connection would count as a failure of its destination, so it must not
/// begin.
pub(crate) fn concurrent_attempts(wanted: NonZeroU16) -> NonZeroU16 {
    let needed = OTHER_FILES + FILES_OF_ATTEMPT * u64::from(wanted.get());
    let allowed = rlimit::increase_nofile_limit(needed)
        .or_else(|_| rlimit::Resource::NOFILE.get_soft())
        .unwrap_or(needed);
    if allowed >= needed {
        return wanted;
    }
    let attempts = (allowed.saturating_sub(OTHER_FILES) / FILES_OF_ATTEMPT).max(allowed / 8);
    let attempts = u16::try_from(attempts).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN);
    tracing::warn!(
        allowed,
        needed,
        attempts,
        "the limit of open files (ulimit -n) is too low for HOOKSENTRY_WORKER_CONCURRENCY={wanted}; fewer attempts are \
         made at once"
    );
    attempts.min(wanted)
}
