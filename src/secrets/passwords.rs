//! Password hashing with Argon2id, on threads of low priority.
//!
//! A hash takes 64 MiB and a good part of a second of one core, on purpose. The number of concurrent hashes
//! is limited and further ones wait in a bounded queue, in turns of their requesters, so a flood of logins exhausts
//! neither memory nor the threads that serve other requests, and delays other logins little. Hashing takes a share of the
//! time: a hash moves 64 MiB through the caches that all threads share, also at a low priority.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use super::common_passwords;
use super::password_queue::{Slot, SlotQueue};
use crate::time_share::TimeShare;

pub use super::password_queue::{QueueFull, Requester};

/// Maximum length of a password in bytes: hashing reads all of it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Memory of one hash, in KiB.
pub const MEMORY_KIB: u32 = 64 * 1_024;
/// Passes over that memory.
pub const PASSES: u32 = 5;
/// Number of lanes into which the memory is divided.
pub const LANES: u32 = 8;

/// How much lower the priority of hashing is (nice(2)): about a tenth of the processor time of a thread that competes
/// with it.
#[cfg(target_os = "linux")]
const HASHING_NICENESS: i32 = 10;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Parameters of hashing, and rules for new passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    /// Memory of one hash, in KiB; at least 8 for each lane.
    pub memory_kib: u32,
    /// Passes over that memory; at least 1.
    pub passes: u32,
    /// Maximum number of concurrent hashes.
    pub concurrency: NonZeroUsize,
    /// Percentage of the time in which each of the concurrent hashes may run, after a burst.
    pub time_percent: u32,
    /// Maximum number of hashes that wait for others.
    pub waiting_max: usize,
    /// Minimum length of a new password in characters; 0 allows any but the empty one.
    pub chars_min: usize,
    /// Whether a new password must not consist of what is guessed first.
    pub refuses_common: bool,
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            concurrency: NonZeroUsize::MIN,
            time_percent: 100,
            waiting_max: 64,
            chars_min: 0,
            refuses_common: false,
        }
    }
}

/// Hashes and verifies passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Hash that is verified when the user does not exist.
    dummy_hash: Arc<str>,
    queue: SlotQueue,
    time: Arc<TimeShare>,
    chars_min: usize,
    refuses_common: bool,
}

/// Right to hash passwords now, one after another.
#[derive(Clone, Debug)]
pub struct HashSlot {
    passwords: Passwords,
    slot: Arc<Slot>,
}

/// Error of a password that does not satisfy the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordProblem {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("must be at least {0} characters")]
    TooShort(usize),
    #[error("must not consist of common words, sequences of keys, repetitions and digits")]
    Common,
}

/// Error of hashing a password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PasswordFailure {
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    #[error("the thread that hashed a password panicked")]
    Died(#[from] RecvError),
}

/// Error of parameters that Argon2 refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Argon2 needs at least 8 KiB of memory a lane and one pass")]
pub struct NotArgon2Parameters;

impl Passwords {
    /// Returns a hasher with these parameters and rules.
    ///
    /// # Errors
    /// When Argon2 refuses the parameters.
    pub fn new(rules: PasswordRules) -> Result<Self, NotArgon2Parameters> {
        let params = Params::new(rules.memory_kib, rules.passes, LANES, Some(HASH_BYTES))
            .map_err(|_| NotArgon2Parameters)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy_hash = dummy_hash(&argon2).map_err(|_| NotArgon2Parameters)?;
        let queue = SlotQueue::new(rules.concurrency, rules.waiting_max);
        let slots = u32::try_from(rules.concurrency.get()).unwrap_or(u32::MAX);
        let time = Arc::new(TimeShare::new(rules.time_percent.saturating_mul(slots)));
        let PasswordRules { chars_min, refuses_common, .. } = rules;
        Ok(Self { argon2, dummy_hash, queue, time, chars_min, refuses_common })
    }

    /// Checks a new password.
    ///
    /// # Errors
    /// The rule that it does not satisfy.
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
        if self.refuses_common && common_passwords::is_common(password) {
            return Err(PasswordProblem::Common);
        }
        Ok(())
    }

    /// Waits for a slot in which passwords can be hashed, and until there is time for a hash.
    ///
    /// # Errors
    /// Too many wait already, of this requester or of all.
    pub async fn slot(&self, requester: Requester) -> Result<HashSlot, QueueFull> {
        let slot = Arc::new(self.queue.slot(requester).await?);
        self.time.turn().await;
        Ok(HashSlot { passwords: self.clone(), slot })
    }

    /// Waits for a slot and returns the hash of a password as a PHC string.
    ///
    /// # Errors
    /// Too many wait already, or hashing fails.
    pub async fn hash(
        &self,
        password: SecretString,
        requester: Requester,
    ) -> Result<String, PasswordFailure> {
        self.slot(requester).await?.hash(password).await
    }
}

impl HashSlot {
    /// Returns the hash of a password as a PHC string.
    ///
    /// # Errors
    /// When hashing fails.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordFailure> {
        let argon2 = self.passwords.argon2.clone();
        let salt: [u8; SALT_BYTES] = rand::random();
        let hashed = self
            .run(move || argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt))
            .await?;
        Ok(hashed.map_err(PasswordFailure::Hash)?.to_string())
    }

    /// Returns whether a password matches `hash`, a PHC string. Without a hash it returns `false` after the
    /// same work, so that the response time does not reveal which users exist.
    pub async fn verify(&self, password: SecretString, hash: Option<&str>) -> bool {
        let exists = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.passwords.dummy_hash), Arc::from);
        let argon2 = self.passwords.argon2.clone();
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

    /// Returns whether a PHC string has other parameters than new hashes have.
    #[must_use]
    pub fn is_outdated(&self, hash: &str) -> bool {
        // Algorithm, version and parameters precede the salt.
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        parameters(hash) != parameters(&self.passwords.dummy_hash)
    }

    /// Runs `work` on a thread that yields to all others. It continues when the caller is cancelled, so the thread keeps
    /// the slot as well.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordFailure> {
        let (time, slot) = (Arc::clone(&self.passwords.time), Arc::clone(&self.slot));
        let (done, result) = oneshot::channel();
        let work = move || {
            lower_priority();
            let begun = Instant::now();
            let value = work();
            let took = begun.elapsed();
            time.used(took);
            metrics::histogram!("hooksentry_password_hash_seconds").record(took);
            drop(slot);
            // The caller may have been cancelled.
            drop(done.send(value));
        };
        let thread = thread::Builder::new().name("password".to_owned());
        thread.spawn(work).map_err(PasswordFailure::Thread)?;
        Ok(result.await?)
    }
}

/// Lowers the priority of this thread, so that a flood of logins takes processor time only from those who log in.
fn lower_priority() {
    // Elsewhere it would be the priority of the process. The thread ends after the hash, because it may not raise its
    // priority again.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(HASHING_NICENESS) {
        tracing::debug!(%error, "passwords are hashed with the priority of everything else");
    }
}

/// Returns a hash that no password matches: the current parameters with random bytes.
fn dummy_hash(argon2: &Argon2<'_>) -> Result<Arc<str>, argon2::password_hash::Error> {
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
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    fn quick() -> Passwords {
        let rules = PasswordRules { memory_kib: 64, passes: 1, ..PasswordRules::default() };
        Passwords::new(rules).unwrap()
    }

    /// A slot of an idle queue.
    async fn slot(passwords: &Passwords) -> HashSlot {
        passwords.slot(Requester::Client(std::net::IpAddr::from([192, 0, 2, 1]).into())).await.unwrap()
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_yields_to_everything_else() {
        let niceness = || rustix::process::getpriority_process(None).expect("the priority of this thread");
        let slot = slot(&quick()).await;
        let before = niceness();
        assert_eq!(slot.run(niceness).await.expect("a result"), (before + HASHING_NICENESS).min(19));
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn a_password_is_recognised_and_no_other() {
        let passwords = slot(&quick()).await;
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(passwords.verify(secret("correct horse"), Some(&hash)).await);
        for wrong in ["Correct horse", "correct hors", "correct horse ", ""] {
            assert!(!passwords.verify(secret(wrong), Some(&hash)).await, "{wrong}");
        }
    }

    #[tokio::test]
    async fn two_hashes_of_a_password_differ() {
        let passwords = slot(&quick()).await;
        let hashes = (passwords.hash(secret("a")).await.unwrap(), passwords.hash(secret("a")).await.unwrap());
        assert_ne!(hashes.0, hashes.1);
    }

    #[tokio::test]
    async fn a_hash_has_argon2id_with_64_mib_5_passes_and_8_lanes() {
        let passwords = slot(&Passwords::new(PasswordRules::default()).unwrap()).await;
        let hash = passwords.hash(secret("a")).await.unwrap();
        let parts: Vec<&str> = hash.split('$').collect();
        assert_eq!(parts[..4], ["", "argon2id", "v=19", "m=65536,t=5,p=8"]);
        // 16 and 32 bytes in unpadded base64.
        assert_eq!((parts[4].len(), parts[5].len()), (22, 43));
        assert!(passwords.verify(secret("a"), Some(&hash)).await);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_stays_valid() {
        let hash = slot(&quick()).await.hash(secret("a")).await.unwrap();
        let rules = PasswordRules { memory_kib: 128, passes: 2, ..PasswordRules::default() };
        let slot = slot(&Passwords::new(rules).unwrap()).await;
        assert!(slot.verify(secret("a"), Some(&hash)).await);
        assert!(slot.is_outdated(&hash));
        assert!(!slot.is_outdated(&slot.hash(secret("a")).await.unwrap()));
    }

    #[tokio::test]
    async fn without_a_hash_the_same_work_is_done_and_no_password_matches() {
        let passwords = quick();
        assert!(!slot(&passwords).await.verify(secret("a"), None).await);
        assert!(passwords.dummy_hash.starts_with("$argon2id$v=19$m=64,t=1,p=8$"), "{}", passwords.dummy_hash);
        PasswordHash::new(&passwords.dummy_hash).unwrap();
    }

    #[tokio::test]
    async fn no_password_matches_an_invalid_hash() {
        for hash in ["", "a", "$argon2id$v=19$m=64,t=1,p=8$", "c2FsdA==:aGFzaA=="] {
            assert!(!slot(&quick()).await.verify(secret("a"), Some(hash)).await, "{hash}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_number_of_concurrent_hashes_is_limited() {
        let rules = PasswordRules {
            memory_kib: 64,
            passes: 1,
            concurrency: NonZeroUsize::new(2).unwrap(),
            waiting_max: 256,
            ..PasswordRules::default()
        };
        let passwords = Passwords::new(rules).unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let passwords = &passwords;
            async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                slot(passwords).await.run(work).await
            }
        };
        futures::future::try_join_all((0..64).map(work)).await.unwrap();
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn hashes_wait_when_they_have_taken_more_than_their_share_of_the_time() {
        let rules = PasswordRules { memory_kib: 64, passes: 1, time_percent: 25, ..PasswordRules::default() };
        let passwords = Passwords::new(rules).unwrap();
        assert!(slot(&passwords).now_or_never().is_some());
        passwords.time.used(Duration::from_secs(1));
        assert!(slot(&passwords).now_or_never().is_some(), "a burst");
        passwords.time.used(Duration::from_secs(2));
        assert!(slot(&passwords).now_or_never().is_none(), "four seconds for one of hashing");

        let wait_for_a_second = |concurrency| {
            let rules = PasswordRules { concurrency: NonZeroUsize::new(concurrency).unwrap(), ..rules };
            let passwords = Passwords::new(rules).unwrap();
            passwords.time.used(Duration::from_secs(3));
            passwords.time.wait().as_secs_f64().round()
        };
        assert_eq!([1, 2].map(wait_for_a_second), [4.0, 2.0]);
    }

    #[tokio::test]
    async fn a_hash_counts_to_the_share_of_the_time() {
        let rules = PasswordRules { memory_kib: 64, passes: 1, time_percent: 1, ..PasswordRules::default() };
        let passwords = Passwords::new(rules).unwrap();
        passwords.time.used(Duration::from_secs(2));
        let slot = slot(&passwords).await;
        assert!(passwords.time.wait().is_zero());
        let begun = Instant::now();
        slot.run(move || while begun.elapsed() < Duration::from_millis(50) {}).await.unwrap();
        assert!(!passwords.time.wait().is_zero(), "five seconds for a twentieth");
    }

    #[test]
    fn a_password_has_a_minimum_and_a_maximum_length() {
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
    fn argon2_has_minimum_parameters() {
        let too_little = PasswordRules { memory_kib: 63, ..PasswordRules::default() };
        assert_eq!(Passwords::new(too_little).unwrap_err(), NotArgon2Parameters);
        let no_pass = PasswordRules { passes: 0, ..PasswordRules::default() };
        assert_eq!(Passwords::new(no_pass).unwrap_err(), NotArgon2Parameters);
    }
}
