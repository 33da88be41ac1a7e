//! The sealer: makes the history provable to others.
//!
//! It follows the log in its order, appends a leaf for each fact to the tree of the fact's tenant, and signs the heads of
//! the trees that have grown, by default once a minute. Each signed head becomes an entry of the installation's tree,
//! whose head is signed as well. [`crate::evidence_log`] is what it writes, the crate `evidence` how that is computed.
//!
//! **Nothing waits for it.** Ingest and deliveries do not know of it. If it stops, it continues later where it stopped.
//!
//! **One process writes.** Trees and position are written in one transaction, under the epoch of the lead
//! ([`crate::leadership`]). So a leader that was paused and replaced writes nothing, and a crash at any moment repeats
//! nothing and loses nothing. A head is signed in the transaction that stores it: no signed head is ever shown that the
//! database could forget by a crash.
//!
//! **Without a key** the trees grow and are not signed. So a key that is configured later covers the facts of the time
//! without one.
//!
//! **Witnesses** are asked to cosign the heads of the installation's tree while sealing continues over another connection. So
//! a witness that is down delays nothing but what is shown: see [`witnesses`]. In the same way the heads get time stamps: see
//! [`time_stamps`].
//!
//! **A new era** of the log, after a restore, begins a new log for each tenant, whose first entry names the last head of
//! the old one. The backup may be older than the last head that was shown, and a second history under one name would be
//! evidence of tampering.
//!
//! **A deleted key of a tenant** is an erasure: the leaves of its facts say nothing from then on. New facts of the tenant
//! get leaves with a random salt that is not kept, so that the tree counts them and they say nothing either.

mod health;
mod key_source;
mod outbound;
mod standing;
mod term;
mod time_stamps;
mod witnesses;

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::EvidenceSettings;
use crate::database;
use crate::leadership::{self, LeadershipStatus, LedRole, Outage};
use crate::secrets::vault::Vault;
pub(crate) use health::look;
use key_source::KeySource;
pub use term::{Term, TermEnded};
pub use time_stamps::TimeStamping;
pub use witnesses::{WitnessPolicyProblem, Witnesses};

/// The role in `leaderships` and the reader in `checkpoints`. It is stored, and never changes.
pub(crate) const ROLE: &str = "sealer";
/// Interval at which the log is read. Lower: the trees of tenants with new facts, up to 9 KiB each, are written more often.
/// Higher: a head covers fewer facts.
const READ_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Ratio of the seal interval to that of reading, if it is short.
const READS_PER_SEAL: u32 = 4;

/// Writes the transparency logs.
#[derive(Debug)]
pub struct Sealer {
    pool: PgPool,
    vault: Vault,
    keys: KeySource,
    seal_interval: Duration,
    witnesses: Option<Witnesses>,
    time_stamping: Option<TimeStamping>,
    status: LeadershipStatus,
}

impl Sealer {
    #[must_use]
    pub fn new(pool: PgPool, vault: Vault, settings: &EvidenceSettings) -> Self {
        Self {
            pool,
            vault,
            keys: KeySource::new(settings),
            seal_interval: settings.seal_interval,
            witnesses: None,
            time_stamping: None,
            status: LeadershipStatus::default(),
        }
    }

    /// Asks these witnesses to cosign.
    #[must_use]
    pub fn with_witnesses(self, witnesses: Option<Witnesses>) -> Self {
        Self { witnesses, ..self }
    }

    /// Has checkpoints stamped by this authority.
    #[must_use]
    pub fn with_time_stamping(self, time_stamping: Option<TimeStamping>) -> Self {
        Self { time_stamping, ..self }
    }

    /// Returns what this process knows about its lead.
    #[must_use]
    pub fn leadership_status(&self) -> &LeadershipStatus {
        &self.status
    }

    /// Waits for the lead and seals, again and again, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        leadership::perform(&self, &stop).await;
    }

    /// Waits for the lead, and takes over the position.
    ///
    /// # Errors
    /// When the database fails, or another process takes the lead meanwhile.
    pub async fn lead(&self) -> Result<Term, TermEnded> {
        let requires_witnesses = self.witnesses.as_ref().is_some_and(Witnesses::are_required);
        let (vault, keys) = (self.vault.clone(), self.keys.clone());
        Term::begin(&self.pool, vault, keys, requires_witnesses, &self.status).await
    }

    async fn follow(
        &self,
        term: &mut Term,
        stop: &CancellationToken,
        outage: &mut Outage,
    ) -> Result<(), TermEnded> {
        let pause = READ_INTERVAL_MAX.min(self.seal_interval / READS_PER_SEAL);
        let mut seal_at = Instant::now();
        loop {
            let appended = database::in_time(database::LONG, term.append()).await?;
            if Instant::now() >= seal_at {
                seal_at = Instant::now() + self.seal_interval;
                term.seal().await?;
            }
            term.measure().await?;
            outage.is_over();
            let pause = if appended.more { Duration::ZERO } else { pause };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl LedRole for Sealer {
    const NAME: &'static str = ROLE;
    type Ended = TermEnded;

    async fn term(&self, stop: &CancellationToken, outage: &mut Outage) -> Result<(), TermEnded> {
        let Some(term) = stop.run_until_cancelled(self.lead()).await else { return Ok(()) };
        let mut term = term?;
        let lost = term.leadership().lost();
        let (epoch, signed) = (term.leadership().epoch(), term.signed());
        let cosigning = async {
            match &self.witnesses {
                Some(witnesses) => witnesses.keep_cosigned(&self.pool, epoch, signed).await,
                None => std::future::pending().await,
            }
        };
        let stamping = async {
            match &self.time_stamping {
                Some(time_stamping) => time_stamping.keep_stamped(&self.pool, epoch).await,
                None => std::future::pending().await,
            }
        };
        // The term is dropped at any await when the lead is lost: what it was writing is fenced.
        let ended = tokio::select! {
            ended = self.follow(&mut term, stop, outage) => ended,
            reason = lost => Err(reason.into()),
            never = cosigning => match never {},
            never = stamping => match never {},
        };
        health::forget_metrics();
        ended
    }
}
