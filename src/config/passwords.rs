//! How passwords are hashed.

use std::num::NonZeroUsize;

use super::values::number_between;
use crate::secrets::passwords::{LANES, MEMORY_KIB, PASSES, PASSWORD_BYTES_MAX, PasswordRules};

/// Argon2 needs this much for each of its lanes.
const MEMORY_KIB_MIN: u32 = 8 * LANES;

/// Which passwords are taken and what hashing one costs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordSettings {
    /// Passwords that are hashed at once.
    ///
    /// Each takes 64 MiB and one core for a good part of a second. Too few and logins wait for one
    /// another; too many and a flood of logins takes the machine.
    #[arg(
        long = "password-hashes-at-once",
        env = "HOOKSENTRY_PASSWORD_HASHES_AT_ONCE",
        value_name = "NUMBER",
        default_value = "2",
        value_parser = number_between::<NonZeroUsize>(NonZeroUsize::MIN, AT_ONCE_MAX)
    )]
    pub hashes_at_once: NonZeroUsize,

    /// Shortest password that is taken, in characters; 0 takes any but the empty one.
    ///
    /// Holds for new passwords only.
    #[arg(
        long = "password-min-length",
        env = "HOOKSENTRY_PASSWORD_MIN_LENGTH",
        value_name = "CHARACTERS",
        default_value = "0",
        value_parser = number_between::<usize>(0, PASSWORD_BYTES_MAX)
    )]
    pub min_length: usize,

    /// Memory that hashing a password takes, in KiB.
    ///
    /// For tests only, which hash a great deal: below the default, stolen hashes are cheaper to crack.
    /// Hashes made before keep what they were made with.
    #[arg(
        long = "password-memory-kib",
        env = "HOOKSENTRY_PASSWORD_MEMORY_KIB",
        value_name = "KIB",
        default_value = "65536",
        value_parser = number_between::<u32>(MEMORY_KIB_MIN, 4 << 20)
    )]
    pub memory_kib: u32,

    /// Passes over that memory.
    ///
    /// For tests only, as above.
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

impl PasswordSettings {
    /// The rules of hashing.
    #[must_use]
    pub fn rules(&self) -> PasswordRules {
        PasswordRules {
            memory_kib: self.memory_kib,
            passes: self.passes,
            concurrency: self.hashes_at_once,
            chars_min: self.min_length,
        }
    }

    pub(super) fn warn(&self) {
        if self.memory_kib < MEMORY_KIB || self.passes < PASSES {
            tracing::warn!(
                password.memory_kib = self.memory_kib,
                password.passes = self.passes,
                "passwords are hashed more cheaply than they should be outside of tests"
            );
        }
    }
}

/// Keeps the default in the text above and the one in the code equal.
const _: () = assert!(MEMORY_KIB == 65_536 && PASSES == 5);
