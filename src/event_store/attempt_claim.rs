//! The append before an attempt: `DeliveryStarted` at the version that the job carries.
//!
//! The append is the claim: of two copies of a job one finds the version taken, and is dropped. So every
//! request is preceded by its `DeliveryStarted`, and an event has one attempt at a time. When two workers claim at
//! the same moment, the batch of one of them is rejected and committed again: then it sees the claims of the other. A job of a
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

use super::distinct::distinct;
use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;
use crate::database;

/// Facts that suspend a tenant, or end its suspension.
const OF_SUSPENSION: [&str; 2] = ["TenantSuspended", "TenantResumed"];

/// A claim with the fact to append.
#[derive(Clone, Debug)]
pub struct AttemptClaimItem {
    pub(super) claim: AttemptClaim,
    pub(super) fact: String,
    pub(super) metadata: String,
}

/// What is judged once for all claims that have it in common: epoch, destination and its version, tenant and its version.
pub(super) type ClaimSettings = (u64, DestinationId, u64, TenantId, u64);

/// Right to make one attempt, with the conditions under which it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl AttemptClaim {
    pub(super) fn settings(&self) -> ClaimSettings {
        let AttemptClaim { epoch, destination_id, destination_version, tenant_id, tenant_version, .. } =
            *self;
        (epoch, destination_id, destination_version, tenant_id, tenant_version)
    }
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
        // Of identical copies only the first is sent. Others exclude each other unless both are valid: then PostgreSQL
        // rejects the batch, and it is halved.
        let mut sent: Vec<(usize, &AttemptClaimItem)> = items.iter().enumerate().collect();
        sent.sort_by_key(|(_, item)| item.claim);
        sent.dedup_by_key(|(_, item)| item.claim);
        let distinct: Vec<&AttemptClaimItem> = sent.iter().map(|(_, item)| *item).collect();
        let outcomes = match append(connection, &distinct).await {
            Err(error) if database::is_unique_violation(&error) => append(connection, &distinct).await?,
            outcomes => outcomes?,
        };
        if outcomes.contains(&AttemptClaimOutcome::Won) {
            self.notifier.notify(Notification::Progress);
        }
        let outcome_of = |(index, item): (usize, &AttemptClaimItem)| {
            // Always found: each claim was sent.
            let number = sent.partition_point(|(_, sent)| sent.claim < item.claim);
            match outcomes[number] {
                AttemptClaimOutcome::Won if sent[number].0 != index => AttemptClaimOutcome::Lost,
                outcome => outcome,
            }
        };
        Ok(items.iter().enumerate().map(outcome_of).collect())
    }
}

/// Appends the facts of `items`, which are sorted and have different claims, and returns the outcome of each.
#[tracing::instrument(name = "db.events.claim_attempts", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn append(
    connection: &mut PgConnection,
    items: &[&AttemptClaimItem],
) -> Result<Vec<AttemptClaimOutcome>, sqlx::Error> {
    let claims = || items.iter().map(|item| &item.claim);
    let (settings, numbers) = distinct(claims().map(AttemptClaim::settings));
    let outcomes = sqlx::query_file_scalar!(
        "src/event_store/attempt_claim.sql",
        &claims().map(|claim| claim.event_id.to_string()).collect::<Vec<_>>(),
        &claims().map(|claim| BigInt(claim.expected_version.saturating_add(1))).collect::<Vec<_>>()
            as &[BigInt],
        &numbers,
        &items.iter().map(|item| item.fact.clone()).collect::<Vec<_>>(),
        &items.iter().map(|item| item.metadata.clone()).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("DeliveryStarted"),
        &settings.iter().map(|(epoch, ..)| BigInt(*epoch)).collect::<Vec<_>>() as &[BigInt],
        &settings.iter().map(|(_, destination_id, ..)| destination_id.0).collect::<Vec<_>>(),
        &settings.iter().map(|(_, _, version, ..)| BigInt(*version)).collect::<Vec<_>>() as &[BigInt],
        &settings.iter().map(|(.., tenant_id, _)| tenant_id.0).collect::<Vec<_>>(),
        &settings.iter().map(|(.., version)| BigInt(*version)).collect::<Vec<_>>() as &[BigInt],
        &DestinationFact::VOIDING_JOBS.map(str::to_owned) as &[String],
        &OF_SUSPENSION.map(str::to_owned) as &[String],
    )
    .fetch_optional(connection)
    .await?;
    let outcome = |code| match code {
        0 => AttemptClaimOutcome::Won,
        1 => AttemptClaimOutcome::Lost,
        _ => AttemptClaimOutcome::SettingsChanged,
    };
    Ok(match outcomes {
        Some(codes) => codes.into_iter().map(outcome).collect(),
        None => vec![AttemptClaimOutcome::Won; items.len()],
    })
}
