//! The checkpoints of one term, and their cosignatures.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use evidence::checkpoint::SignedCheckpoint;
use evidence::witness::{Accepted, AddCheckpoint};
use futures::future;
use projections::checkpoints;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::submission::{Fork, Outcome, StoreFailure, SubmissionFailure, send};
use super::{Witness, Witnesses};
use crate::database;
use crate::evidence_log::{self, NewCosignature, Tree};
use crate::sealer::standing::Standing;
use crate::sealer::{ROLE, term};

/// Pause after the database has failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Cosigning during a term as leader.
pub(super) struct Cosigning<'a> {
    witnesses: &'a Witnesses,
    pool: PgPool,
    epoch: u64,
    /// The checkpoint to cosign.
    target: watch::Sender<Option<Arc<Target>>>,
    /// The one that has its quorum.
    published: watch::Sender<Option<(Uuid, u64)>>,
}

/// A checkpoint of the installation's log.
struct Target {
    tree: Tree,
    checkpoint: SignedCheckpoint,
}

impl Target {
    fn size(&self) -> u64 {
        self.checkpoint.checkpoint().tree.size
    }

    /// Log and size.
    fn id(&self) -> (Uuid, u64) {
        (self.tree.log_id(), self.size())
    }
}

impl<'a> Cosigning<'a> {
    pub(super) fn new(witnesses: &'a Witnesses, pool: PgPool, epoch: u64) -> Self {
        Self { witnesses, pool, epoch, target: watch::Sender::new(None), published: watch::Sender::new(None) }
    }

    pub(super) async fn run(&self, signed: watch::Receiver<()>) -> Infallible {
        let asking = self.witnesses.witnesses.iter().map(|witness| self.ask(witness));
        let (never, _) = future::join(self.choose(signed), future::join_all(asking)).await;
        never
    }

    /// Makes each new checkpoint the one to cosign.
    async fn choose(&self, mut signed: watch::Receiver<()>) -> Infallible {
        let longest = self.witnesses.outbound.timeout() * 2;
        loop {
            signed.mark_unchanged();
            match database::in_time(database::SHORT, self.begin_target()).await {
                Ok(Some(id)) => {
                    let mut published = self.published.subscribe();
                    // It ends early when the quorum is reached.
                    let _ = timeout(longest, published.wait_for(|published| *published == Some(id))).await;
                }
                Ok(None) => {
                    if signed.changed().await.is_err() {
                        future::pending::<()>().await;
                    }
                }
                Err(failure) => {
                    let error = anyhow::Error::from(failure);
                    tracing::warn!(?error, "the checkpoint to cosign cannot be read, will retry");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Makes the last checkpoint the one to cosign; `None` if it is already.
    async fn begin_target(&self) -> Result<Option<(Uuid, u64)>, StoreFailure> {
        let Some(newest) = self.newest().await? else { return Ok(None) };
        let id = newest.id();
        if self.target.borrow().as_ref().is_some_and(|target| target.id() == id) {
            return Ok(None);
        }
        // The quorum may have been reached before this term, or the policy be another one now.
        self.publish(&newest).await?;
        self.target.send_replace(Some(Arc::new(newest)));
        Ok(Some(id))
    }

    /// Returns the last signed checkpoint of the installation's log.
    async fn newest(&self) -> Result<Option<Target>, StoreFailure> {
        let mut connection = self.pool.acquire().await?;
        let Some(tree) = evidence_log::latest_installation_tree(&mut connection).await? else {
            return Ok(None);
        };
        let Some(last) = evidence_log::last_checkpoint(&mut connection, &tree).await? else {
            return Ok(None);
        };
        let checkpoint = SignedCheckpoint::parse(last.note.as_bytes());
        let checkpoint = checkpoint.map_err(|_| StoreFailure::Damaged(last.size))?;
        Ok(Some(Target { tree, checkpoint }))
    }

    /// Asks a witness to cosign each checkpoint, one after another.
    async fn ask(&self, witness: &Witness) -> Infallible {
        let mut targets = self.target.subscribe();
        let mut standing = Standing::default();
        // Log and size of the last checkpoint that it has cosigned; `None`: not read yet.
        let mut cosigned: Option<(Uuid, u64)> = None;
        loop {
            let is_next = |target: &Option<Arc<Target>>| {
                target.as_ref().is_some_and(|target| cosigned != Some(target.id()))
            };
            let next = targets.wait_for(is_next).await.ok().and_then(|target| target.clone());
            // The sender lives as long as this does.
            let Some(target) = next else { return future::pending().await };
            let done = match cosigned {
                Some((log_id, old)) if log_id == target.tree.log_id() => {
                    let submitted = self.submit(witness, &target, old).await;
                    submitted.map(|()| witness.has_cosigned(&mut standing)).map(|()| target.size())
                }
                _ => self.last_cosigned(witness, target.tree.log_id()).await,
            };
            match done {
                Ok(size) => cosigned = Some((target.tree.log_id(), size)),
                Err(failure) => sleep(witness.has_failed(&mut standing, failure)).await,
            }
        }
    }

    /// Submits a checkpoint to a witness that has cosigned `old` entries last, and stores its cosignature.
    async fn submit(&self, witness: &Witness, target: &Target, old: u64) -> Result<(), SubmissionFailure> {
        let (log_id, size) = target.id();
        let outbound = &self.witnesses.outbound;
        let mut request = self.request(target, old).await?;
        let mut outcome = send(outbound, witness, &request).await?;
        if let Outcome::Conflict(cosigned) = outcome {
            if cosigned > size {
                return Err(self.ahead(log_id, cosigned).await?);
            }
            request = self.request(target, cosigned).await?;
            outcome = send(outbound, witness, &request).await?;
        }
        match outcome {
            Outcome::Cosigned(accepted) => self.store(witness, target, accepted).await,
            // It cosigns for another process as well, perhaps a former leader.
            Outcome::Conflict(cosigned) => Err(SubmissionFailure::Overtaken(cosigned)),
        }
    }

    async fn last_cosigned(&self, witness: &Witness, log_id: Uuid) -> Result<u64, SubmissionFailure> {
        let read = async {
            let mut connection = self.pool.acquire().await?;
            evidence_log::last_cosigned_size(&mut connection, log_id, &witness.key.to_string()).await
        };
        Ok(database::in_time(database::SHORT, read).await?)
    }

    /// Returns the request to cosign a checkpoint after that of `old` entries.
    async fn request(&self, target: &Target, old_size: u64) -> Result<AddCheckpoint, StoreFailure> {
        let proof = async {
            let mut connection = self.pool.acquire().await?;
            let proof =
                evidence_log::prove_consistency(&mut connection, &target.tree, old_size, target.size());
            Ok::<_, StoreFailure>(proof.await?)
        };
        let proof = database::in_time(database::SHORT, proof).await?;
        Ok(AddCheckpoint { old_size, proof, checkpoint: target.checkpoint.clone() })
    }

    /// Returns what it means that a witness has cosigned more entries than the checkpoint to cosign has.
    async fn ahead(&self, log_id: Uuid, cosigned: u64) -> Result<SubmissionFailure, StoreFailure> {
        let newest = database::in_time(database::SHORT, self.newest()).await?;
        match newest.map(|newest| newest.id()) {
            Some((log, signed)) if log == log_id && signed < cosigned => {
                Ok(Fork::Longer { cosigned, signed }.into())
            }
            _ => Ok(SubmissionFailure::Overtaken(cosigned)),
        }
    }

    async fn store(
        &self,
        witness: &Witness,
        target: &Target,
        accepted: Accepted,
    ) -> Result<(), SubmissionFailure> {
        let Accepted { cosignature, timestamp } = accepted;
        let time = i64::try_from(timestamp).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let (log_id, size) = target.id();
        let new = NewCosignature {
            log_id,
            size,
            vkey: witness.key.to_string(),
            line: cosignature.to_string(),
            cosigned_at: time.ok_or(SubmissionFailure::Time(timestamp))?,
        };
        let stored = async {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = term::begin(&mut connection).await?;
            checkpoints::keep(&mut transaction, &[ROLE], self.epoch).await?;
            evidence_log::insert_cosignature(&mut transaction, &new).await?;
            transaction.commit().await?;
            // After the commit: of two witnesses at the same time, the later one sees the cosignature of the other.
            self.publish(target).await
        };
        Ok(database::in_time(database::SHORT, stored).await?)
    }

    /// Publishes a checkpoint if its cosignatures are the quorum.
    async fn publish(&self, target: &Target) -> Result<(), StoreFailure> {
        let (log_id, size) = target.id();
        let mut connection = self.pool.acquire().await?;
        let mut checkpoint = target.checkpoint.clone();
        for line in evidence_log::cosignatures(&mut connection, log_id, size).await? {
            let added = line.parse().ok().and_then(|cosignature| checkpoint.add(cosignature).ok());
            added.ok_or(StoreFailure::Damaged(size))?;
        }
        if self.witnesses.policy.check_witnesses(&checkpoint).is_err() {
            return Ok(());
        }
        let mut transaction = term::begin(&mut connection).await?;
        checkpoints::keep(&mut transaction, &[ROLE], self.epoch).await?;
        evidence_log::publish(&mut transaction, log_id, size).await?;
        transaction.commit().await?;
        self.published.send_if_modified(|published| {
            let is_later = published.is_none_or(|(log, known)| log != log_id || known < size);
            if is_later {
                *published = Some((log_id, size));
            }
            is_later
        });
        Ok(())
    }
}
