//! The append before an attempt: `DeliveryStarted` at the version that the job carries.
//!
//! The append is the claim: of two copies of a job one finds the version taken, and is dropped. So every
//! request is preceded by its `DeliveryStarted`, and an event has one attempt at a time. A job of a
//! dispatcher that no longer leads is void, and so is one whose destination has entered another stage or got
//! another limit since, or whose tenant is suspended, as the log says. The fact names the versions of the
//! destination and the tenant whose settings the attempt uses; when the read models have a newer version at the
//! time of the append, nothing is appended and the caller reads the settings again.
//!
//! A winner reads the payload afterwards ([`super::ClaimedPayloadBatch`]), so the next claims are committed
//! meanwhile.

use aggregates::Facts;
use aggregates::destination::DestinationFact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use projections::BigInt;
use sqlx::PgConnection;

use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;

/// A claim with the fact to append.
#[derive(Clone, Debug)]
pub struct AttemptClaimItem {
    claim: AttemptClaim,
    fact: String,
    metadata: String,
}

/// Right to make one attempt, with the conditions under which it is granted.
#[derive(Clone, Copy, Debug)]
pub struct AttemptClaim {
    pub event_id: WebhookEventId,
    /// Version of the event's stream before the append.
    pub expected_version: u64,
    /// Epoch of the dispatcher that released the job.
    pub epoch: u64,
    pub destination_id: DestinationId,
    /// Version of the destination whose settings the attempt uses.
    pub destination_version: u64,
    pub tenant_id: TenantId,
    /// Version of the tenant whose settings the attempt uses.
    pub tenant_version: u64,
}

/// Outcome of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptClaimOutcome {
    /// The claim is granted.
    Won,
    /// The event has another version, tenant or destination, the destination is in another stage, the tenant is
    /// suspended, or the job's dispatcher no longer leads: drop the job.
    Lost,
    /// The destination or its tenant has newer settings: read them and claim again.
    SettingsChanged,
}

impl AttemptClaimItem {
    /// Returns `claim` with the fact to append for it.
    ///
    /// # Errors
    /// When the fact or the metadata cannot be written as JSON.
    pub fn new(
        claim: AttemptClaim,
        fact: &WebhookEventFact,
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let fact = serde_json::to_string(fact)?;
        Ok(Self { claim, fact, metadata: serde_json::to_string(metadata)? })
    }
}

/// Group commit of claims.
#[derive(Debug)]
pub struct AttemptClaimBatch {
    notifier: LogNotifier,
}

impl AttemptClaimBatch {
    #[must_use]
    pub fn new(notifier: LogNotifier) -> Self {
        Self { notifier }
    }
}

impl Batch for AttemptClaimBatch {
    type Item = AttemptClaimItem;
    type Outcome = AttemptClaimOutcome;

    fn bytes(item: &AttemptClaimItem) -> usize {
        item.fact.len() + item.metadata.len()
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[AttemptClaimItem],
    ) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
        let outcomes: Vec<_> = append(connection, items).await?.into_iter().map(Claimed::outcome).collect();
        if outcomes.contains(&AttemptClaimOutcome::Won) {
            self.notifier.notify(Notification::Progress);
        }
        Ok(outcomes)
    }
}

/// What became of a claim in the log.
struct Claimed {
    won: bool,
    /// Whether the settings that the claim names are the current ones.
    current: bool,
}

impl Claimed {
    fn outcome(self) -> AttemptClaimOutcome {
        match self {
            Self { won: true, .. } => AttemptClaimOutcome::Won,
            Self { current: true, .. } => AttemptClaimOutcome::Lost,
            Self { .. } => AttemptClaimOutcome::SettingsChanged,
        }
    }
}

#[tracing::instrument(name = "db.events.claim_attempts", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn append(
    connection: &mut PgConnection,
    items: &[AttemptClaimItem],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let claims = || items.iter().map(|item| &item.claim);
    sqlx::query_file_as!(
        Claimed,
        "src/event_store/attempt_claim.sql",
        &claims().map(|claim| claim.event_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.expected_version.saturating_add(1))).collect::<Vec<_>>()
            as &[BigInt],
        &claims().map(|claim| BigInt(claim.epoch)).collect::<Vec<_>>() as &[BigInt],
        &claims().map(|claim| claim.destination_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.destination_version)).collect::<Vec<_>>() as &[BigInt],
        &claims().map(|claim| claim.tenant_id.0).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.tenant_version)).collect::<Vec<_>>() as &[BigInt],
        &items.iter().map(|item| item.fact.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.metadata.clone()).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("DeliveryStarted"),
        &DestinationFact::VOIDING_JOBS.map(str::to_owned) as &[String],
    )
    .fetch_all(connection)
    .await
}
