//! Settings of password hashing.

use std::num::NonZeroUsize;

use super::values::{boolean, number_between};
use crate::secrets::passwords::{LANES, MEMORY_KIB, PASSES, PASSWORD_BYTES_MAX, PasswordRules};

/// Argon2 needs 8 KiB for each of its lanes.
const MEMORY_KIB_MIN: u32 = 8 * LANES;

/// Length of passwords and cost of hashing them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordSettings {
    /// Maximum number of passwords that are hashed concurrently. The default is half of the CPU cores.
    ///
    /// Each needs 64 MiB and a CPU core for some tenths of a second. Lower: logins wait for each other.
    /// Higher: a flood of logins takes more CPU and memory from other requests.
    #[arg(
        long = "password-hashes-at-once",
        env = "HOOKSENTRY_PASSWORD_HASHES_AT_ONCE",
        value_name = "NUMBER",
        value_parser = number_between::<NonZeroUsize>(NonZeroUsize::MIN, AT_ONCE_MAX)
    )]
    pub hashes_at_once: Option<NonZeroUsize>,

    /// Percentage of the time in which each of these concurrent hashes may run; 100: all the time.
    ///
    /// After a rest 2 s may be hashed at once. Further logins wait. Lower: the last of many users who log in at the same
    /// time wait for longer. Higher: a flood of logins delays webhooks more, because each hash moves 64 MiB through the
    /// caches of the processor.
    #[arg(
        long = "password-time-percent",
        env = "HOOKSENTRY_PASSWORD_TIME_PERCENT",
        value_name = "PERCENT",
        default_value = "40",
        value_parser = number_between::<u32>(1, 100)
    )]
    pub time_percent: u32,

    /// Maximum number of passwords that wait to be hashed. One client or tenant may take a quarter of it.
    ///
    /// Beyond it, logins are answered with 503, and those of one client or tenant with 429. Lower: a burst of logins
    /// is refused earlier. Higher: the last of a burst waits for longer.
    #[arg(
        long = "password-queue",
        env = "HOOKSENTRY_PASSWORD_QUEUE",
        value_name = "NUMBER",
        default_value = "64",
        value_parser = number_between::<usize>(1, 4_096)
    )]
    pub queue: usize,

    /// Minimum length of new passwords, in characters; 0 allows every password that is not empty.
    ///
    /// Lower: passwords are easier to guess. Higher: users have to choose longer passwords. Existing
    /// passwords stay valid. The default of `dev` is 0.
    #[arg(
        long = "password-min-length",
        env = "HOOKSENTRY_PASSWORD_MIN_LENGTH",
        value_name = "CHARACTERS",
        default_value = "12",
        value_parser = number_between::<usize>(0, PASSWORD_BYTES_MAX)
    )]
    pub min_length: usize,

    /// Whether new passwords are refused that consist of what is guessed first: common words, sequences of keys,
    /// repetitions and digits.
    ///
    /// Existing passwords stay valid. The default of `dev` is false.
    #[arg(
        long = "refuse-common-passwords",
        env = "HOOKSENTRY_REFUSE_COMMON_PASSWORDS",
        value_name = "true|false",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub refuse_common: bool,

    /// Whether users must give their current password to change their own email address or password.
    ///
    /// If false, a stolen access token suffices to take over an account. The default of `dev` is false.
    #[arg(
        long = "require-current-password",
        env = "HOOKSENTRY_REQUIRE_CURRENT_PASSWORD",
        value_name = "true|false",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub require_current: bool,

    /// Memory for hashing one password, in KiB.
    ///
    /// Lower: stolen hashes are cheaper to crack, so only tests use less than the default. Higher: logins
    /// need more memory and time. Existing hashes keep the value with which they were made.
    #[arg(
        long = "password-memory-kib",
        env = "HOOKSENTRY_PASSWORD_MEMORY_KIB",
        value_name = "KIB",
        default_value = "65536",
        value_parser = number_between::<u32>(MEMORY_KIB_MIN, 4 << 20)
    )]
    pub memory_kib: u32,

    /// Number of passes over the memory when hashing one password.
    ///
    /// Lower: stolen hashes are cheaper to crack, so only tests use less than the default. Higher: logins
    /// need more time.
    #[arg(
        long = "password-passes",
        env = "HOOKSENTRY_PASSWORD_PASSES",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(1, 100)
    )]
    pub passes: u32,
}

const AT_ONCE_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("1024 is not zero");

/// So a flood of logins leaves cores to other requests.
fn half_of_the_cores() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN)
}

impl PasswordSettings {
    #[must_use]
    pub fn rules(&self) -> PasswordRules {
        PasswordRules {
            memory_kib: self.memory_kib,
            passes: self.passes,
            concurrency: self.hashes_at_once.unwrap_or_else(half_of_the_cores),
            time_percent: self.time_percent,
            waiting_max: self.queue,
            chars_min: self.min_length,
            refuses_common: self.refuse_common,
        }
    }

    pub(super) fn warn(&self) {
        if self.memory_kib < MEMORY_KIB || self.passes < PASSES {
            tracing::warn!(
                password.memory_kib = self.memory_kib,
                password.passes = self.passes,
                "passwords are hashed with less memory or fewer passes than the default, which is for tests only"
            );
        }
    }
}

// The defaults in the attributes above equal those of the hashing code.
const _: () = assert!(MEMORY_KIB == 65_536 && PASSES == 5);
