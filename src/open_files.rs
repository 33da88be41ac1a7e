//! Limit of open files of the process: every connection is one.
//!
//! The connections of callers and those of attempts have separate parts of it, so that callers, however many connect,
//! take none from attempts: an attempt that cannot open its connection could count as a failure of its destination.

/// Files for everything else: connections to PostgreSQL and to the broker, name lookups, and connections of operators.
const OTHER_FILES: usize = 2_048;
/// Files of an attempt: its connection, and an idle one that is kept for the next attempt.
const FILES_OF_ATTEMPT: usize = 2;

/// What a process may do at once within its limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// Connections of callers.
    pub(crate) connections: usize,
    /// Attempts; 0 without the role `worker`.
    pub(crate) attempts: u16,
}

impl OpenFiles {
    fn needed(self) -> usize {
        OTHER_FILES + self.connections + FILES_OF_ATTEMPT * usize::from(self.attempts)
    }

    /// Raises the limit of open files for what is wanted, as far as the system allows, and returns what the limit
    /// suffices for.
    pub(crate) fn raise(wanted: Self) -> Self {
        let needed = wanted.needed();
        let allowed = rlimit::increase_nofile_limit(needed as u64)
            .or_else(|_| rlimit::Resource::NOFILE.get_soft())
            .map_or(needed, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX));
        let possible = wanted.within(allowed);
        if possible != wanted {
            tracing::warn!(
                allowed,
                needed,
                connections = possible.connections,
                attempts = possible.attempts,
                "the limit of open files (ulimit -n) is too low for HOOKSENTRY_CONNECTIONS and \
                 HOOKSENTRY_WORKER_CONCURRENCY; fewer connections are accepted and fewer attempts are made at once"
            );
        }
        possible
    }

    /// Divides a limit of files. What others use and the two parts shrink in proportion.
    fn within(self, allowed: usize) -> Self {
        let needed = self.needed();
        if allowed >= needed {
            return self;
        }
        let part = |wanted: usize| ((wanted as u128 * allowed as u128 / needed as u128) as usize).max(1);
        Self {
            connections: part(self.connections),
            attempts: match self.attempts {
                0 => 0,
                wanted => u16::try_from(part(usize::from(wanted))).unwrap_or(wanted),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: OpenFiles = OpenFiles { connections: 8_192, attempts: 4_096 };

    #[test]
    fn a_limit_that_suffices_changes_nothing() {
        assert_eq!(WANTED.within(WANTED.needed()), WANTED);
        assert_eq!(WANTED.within(usize::MAX), WANTED);
    }

    #[test]
    fn connections_of_callers_leave_files_for_attempts_and_for_everything_else() {
        for allowed in [256, 1_024, 4_096, 16_384] {
            let OpenFiles { connections, attempts } = WANTED.within(allowed);
            let others = allowed - connections - FILES_OF_ATTEMPT * usize::from(attempts);
            assert!(others >= allowed / 20, "{allowed}: {connections}, {attempts}");
            assert!(usize::from(attempts) >= allowed / 5, "{allowed}: {connections}, {attempts}");
        }
        let without_worker = OpenFiles { attempts: 0, ..WANTED }.within(1_024);
        assert_eq!(without_worker, OpenFiles { connections: 819, attempts: 0 });
    }
}
