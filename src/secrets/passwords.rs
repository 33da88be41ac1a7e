//! Passwords: hashed with Argon2id, off the threads that serve requests.
//!
//! A hash costs 64 MiB and a good part of a second of one core, by intent. So it runs on the blocking
//! threads, and only so many run at once: whoever comes then waits, and a flood of logins costs neither
//! the memory of the machine nor the time of the other requests.

use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::{AcquireError, Semaphore};
use tokio::task::JoinError;

/// Longest password, in bytes: hashing reads all of it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Memory of one hash, in KiB.
pub const MEMORY_KIB: u32 = 64 * 1_024;
/// Passes over that memory.
pub const PASSES: u32 = 5;
/// Lanes the memory is divided into.
pub const LANES: u32 = 8;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// How passwords are hashed and which are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    /// Memory of one hash, in KiB; at least 8 for each lane.
    pub memory_kib: u32,
    /// Passes over that memory; at least 1.
    pub passes: u32,
    pub at_once: NonZeroUsize,
    /// Shortest password that is taken, in characters; 0 takes any but the empty one.
    pub chars_min: usize,
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self { memory_kib: MEMORY_KIB, passes: PASSES, at_once: NonZeroUsize::MIN, chars_min: 0 }
    }
}

/// Hashes and verifies passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// What is verified when there is no such user.
    nobody: Arc<str>,
    at_once: Arc<Semaphore>,
    chars_min: usize,
}

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordProblem {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than allowed.
    #[error("must be at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// Shorter than this installation asks for.
    #[error("must be at least {0} characters")]
    TooShort(usize),
}

/// Why a password could not be hashed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PasswordFailure {
    /// Argon2 did not run.
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    /// The program is stopping.
    #[error("passwords are not hashed any more")]
    Stopping(#[from] AcquireError),
    /// The thread that hashed died.
    #[error("the thread that hashed a password died")]
    Died(#[from] JoinError),
}

/// Parameters that Argon2 does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Argon2 needs at least 8 KiB of memory a lane and one pass")]
pub struct NotArgon2Parameters;

impl Passwords {
    /// Hashing by these rules.
    pub fn new(rules: PasswordRules) -> Result<Self, NotArgon2Parameters> {
        let params = Params::new(rules.memory_kib, rules.passes, LANES, Some(HASH_BYTES))
            .map_err(|_| NotArgon2Parameters)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = nobody(&argon2).map_err(|_| NotArgon2Parameters)?;
        let at_once = Arc::new(Semaphore::new(rules.at_once.get()));
        Ok(Self { argon2, nobody, at_once, chars_min: rules.chars_min })
    }

    /// Whether a password may become somebody's.
    pub fn check(&self, password: &SecretString) -> Result<(), PasswordProblem> {
        let password = password.expose_secret();
        if password.is_empty() {
            return Err(PasswordProblem::Empty);
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordProblem::TooLong);
        }
        if password.chars().count() < self.chars_min {
            return Err(PasswordProblem::TooShort(self.chars_min));
        }
        Ok(())
    }

    /// The PHC string of a password.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordFailure> {
        let argon2 = self.argon2.clone();
        let salt: [u8; SALT_BYTES] = rand::random();
        let hashed = self
            .run(move || argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt))
            .await?;
        Ok(hashed.map_err(PasswordFailure::Hash)?.to_string())
    }

    /// Whether a password is that of `hash`, a PHC string, with the parameters it names. Without a hash
    /// the same work is done and the answer is no, so that the time does not tell who exists.
    pub async fn verify(&self, password: SecretString, hash: Option<&str>) -> bool {
        let exists = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let argon2 = self.argon2.clone();
        let verified = self
            .run(move || {
                let hash = PasswordHash::new(&hash)?;
                argon2.verify_password(password.expose_secret().as_bytes(), &hash)
            })
            .await;
        match verified {
            Ok(Ok(())) => exists,
            Ok(Err(argon2::password_hash::Error::PasswordInvalid)) => false,
            Ok(Err(error)) => {
                tracing::error!(error = %error, "a stored password hash cannot be used");
                false
            }
            Err(failure) => {
                let failure: &dyn std::error::Error = &failure;
                tracing::error!(error = failure, "a password could not be verified");
                false
            }
        }
    }

    /// Runs on a blocking thread once there is room. The work goes on when the caller goes away, so the
    /// permit goes with the work.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordFailure> {
        let permit = Arc::clone(&self.at_once).acquire_owned().await?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}

/// A hash of no password: the right parameters and random bytes where the hash would be.
fn nobody(argon2: &Argon2<'_>) -> Result<Arc<str>, argon2::password_hash::Error> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2.params().try_into()?,
        salt: Some(Salt::new(&rand::random::<[u8; SALT_BYTES]>())?),
        hash: Some(Output::new(&rand::random::<[u8; HASH_BYTES]>())?),
    };
    Ok(hash.to_string().into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn quick() -> Passwords {
        let rules = PasswordRules { memory_kib: 64, passes: 1, ..PasswordRules::default() };
        Passwords::new(rules).unwrap()
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn a_password_is_recognised_and_no_other() {
        let passwords = quick();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(passwords.verify(secret("correct horse"), Some(&hash)).await);
        for wrong in ["Correct horse", "correct hors", "correct horse ", ""] {
            assert!(!passwords.verify(secret(wrong), Some(&hash)).await, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_same_password_is_never_hashed_alike() {
        let passwords = quick();
        let hashes = (passwords.hash(secret("a")).await.unwrap(), passwords.hash(secret("a")).await.unwrap());
        assert_ne!(hashes.0, hashes.1);
    }

    #[tokio::test]
    async fn a_hash_names_argon2id_with_64_mib_5_passes_and_8_lanes() {
        let passwords = Passwords::new(PasswordRules::default()).unwrap();
        let hash = passwords.hash(secret("a")).await.unwrap();
        let parts: Vec<&str> = hash.split('$').collect();
        assert_eq!(parts[..4], ["", "argon2id", "v=19", "m=65536,t=5,p=8"]);
        // 16 and 32 bytes in unpadded base64.
        assert_eq!((parts[4].len(), parts[5].len()), (22, 43));
        assert!(passwords.verify(secret("a"), Some(&hash)).await);
    }

    #[tokio::test]
    async fn a_hash_made_with_other_parameters_stays_good() {
        let hash = quick().hash(secret("a")).await.unwrap();
        let rules = PasswordRules { memory_kib: 128, passes: 2, ..PasswordRules::default() };
        assert!(Passwords::new(rules).unwrap().verify(secret("a"), Some(&hash)).await);
    }

    #[tokio::test]
    async fn nobody_is_verified_with_the_same_work_and_never_let_in() {
        let passwords = quick();
        assert!(!passwords.verify(secret("a"), None).await);
        assert!(passwords.nobody.starts_with("$argon2id$v=19$m=64,t=1,p=8$"), "{}", passwords.nobody);
        PasswordHash::new(&passwords.nobody).unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_hash_lets_nobody_in() {
        for hash in ["", "a", "$argon2id$v=19$m=64,t=1,p=8$", "c2FsdA==:aGFzaA=="] {
            assert!(!quick().verify(secret("a"), Some(hash)).await, "{hash}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn only_so_many_are_hashed_at_once() {
        let rules =
            PasswordRules { memory_kib: 64, passes: 1, at_once: NonZeroUsize::new(2).unwrap(), chars_min: 0 };
        let passwords = Passwords::new(rules).unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            passwords.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        futures::future::try_join_all((0..64).map(work)).await.unwrap();
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_password_has_something_but_not_too_much() {
        let any = quick();
        assert_eq!(any.check(&secret("a")), Ok(()));
        assert_eq!(any.check(&secret("")), Err(PasswordProblem::Empty));
        assert_eq!(any.check(&secret(&"a".repeat(1_024))), Ok(()));
        assert_eq!(any.check(&secret(&"a".repeat(1_025))), Err(PasswordProblem::TooLong));
        let rules = PasswordRules { memory_kib: 64, passes: 1, chars_min: 8, ..PasswordRules::default() };
        let strict = Passwords::new(rules).unwrap();
        assert_eq!(strict.check(&secret("äöüäöüä")), Err(PasswordProblem::TooShort(8)));
        assert_eq!(strict.check(&secret("äöüäöüäö")), Ok(()));
    }

    #[test]
    fn argon2_has_least_parameters() {
        let too_little = PasswordRules { memory_kib: 63, ..PasswordRules::default() };
        assert_eq!(Passwords::new(too_little).unwrap_err(), NotArgon2Parameters);
        let no_pass = PasswordRules { passes: 0, ..PasswordRules::default() };
        assert_eq!(Passwords::new(no_pass).unwrap_err(), NotArgon2Parameters);
    }
}
