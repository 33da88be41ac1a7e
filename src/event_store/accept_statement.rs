//! The statement that accepts a batch of webhooks and starts their first attempts.

use aggregates::Facts;
use aggregates::destination::DestinationFact;
use aggregates::webhook_event::WebhookEventFact;
use projections::{BigInt, LogPosition, TransactionId};
use sqlx::PgConnection;

use super::accept_item::AcceptItem;
use super::acceptance::AcceptOutcome;
use super::attempt_claim::{AttemptClaimItem, ClaimSettings};
use super::distinct::distinct;

/// Events that are looked up before they are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    OfIdempotencyKeys,
    All,
}

/// What the statement returns.
#[derive(Debug)]
pub(super) struct Accepted {
    /// `None`: all were appended.
    outcomes: Option<Vec<i16>>,
    /// With which of the claims' distinct settings attempts were started; `None`: with all.
    valid_settings: Option<Vec<bool>>,
    /// `None`: none was appended.
    transaction_id: Option<TransactionId>,
    positions: Option<Vec<i64>>,
}

impl Accepted {
    /// Returns the outcome of each item, and whether its first attempt was started with the claim that it has in `claims`.
    pub(super) fn outcomes(&self, claims: &[Option<&AttemptClaimItem>]) -> Vec<(AcceptOutcome, bool)> {
        let (_, numbers) = distinct_settings(claims);
        let mut numbers = numbers.into_iter();
        let is_valid = |number: i32| {
            let index = usize::try_from(number - 1).unwrap_or_default();
            self.valid_settings.as_ref().is_none_or(|valid| valid[index])
        };
        let outcome = |(index, claim): (usize, &Option<&AttemptClaimItem>)| {
            let has_valid_settings = claim.and_then(|_| numbers.next()).is_some_and(is_valid);
            match self.outcomes.as_ref().map_or(0, |codes| codes[index]) {
                0 => (AcceptOutcome::Accepted, has_valid_settings),
                1 => (AcceptOutcome::Exists, false),
                _ => (AcceptOutcome::RouteChanged, false),
            }
        };
        claims.iter().enumerate().map(outcome).collect()
    }

    /// Returns the positions of the facts that were appended, in the order of their items.
    pub(super) fn positions(&self) -> impl Iterator<Item = LogPosition> {
        let transaction_id = self.transaction_id.unwrap_or_default();
        self.positions
            .iter()
            .flatten()
            .map(move |position| LogPosition { transaction_id, position: *position })
    }
}

/// Returns the distinct settings of the claims, and for each claim the number of its settings.
fn distinct_settings(claims: &[Option<&AttemptClaimItem>]) -> (Vec<ClaimSettings>, Vec<i32>) {
    distinct(claims.iter().flatten().map(|item| item.claim.settings()))
}

/// Appends the facts and stores the payloads of `items`, which are sorted by id and have different ones. Each may have a claim
/// of its first attempt.
#[tracing::instrument(name = "db.events.accept", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
pub(super) async fn accept(
    connection: &mut PgConnection,
    items: &[&AcceptItem],
    claims: &[Option<&AttemptClaimItem>],
    existing: Existing,
) -> Result<Accepted, sqlx::Error> {
    let (credentials, numbers) = distinct(items.iter().map(|item| item.credentials()));
    let (settings, settings_numbers) = distinct_settings(claims);
    let ids: Vec<String> = items.iter().map(|item| item.id.to_string()).collect();
    let claimed = || {
        let events = claims.iter().zip(&ids).zip(1_i32..);
        events.filter_map(|((claim, id), number)| Some(((*claim)?, id, number)))
    };
    // Of all facts, those of acceptances first: the log has them in this order.
    let fact_ids = ids.iter().chain(claimed().map(|(_, id, _)| id));
    let fact_events = (1_i32..).take(items.len()).chain(claimed().map(|(.., number)| number));
    let fact_settings = items.iter().map(|_| 0).chain(settings_numbers);
    let facts = items.iter().map(|item| &*item.fact).chain(claimed().map(|(claim, ..)| &*claim.fact));
    let metadata =
        items.iter().map(|item| &*item.metadata).chain(claimed().map(|(claim, ..)| &*claim.metadata));
    let may_exist = |item: &&AcceptItem| existing == Existing::All || item.idempotency_key.is_some();
    sqlx::query_file_as!(
        Accepted,
        "src/event_store/acceptance.sql",
        &ids,
        &numbers,
        &items.iter().map(may_exist).collect::<Vec<_>>(),
        &fact_ids.collect::<Vec<_>>() as &[&String],
        &fact_events.collect::<Vec<_>>(),
        &fact_settings.collect::<Vec<_>>(),
        &facts.collect::<Vec<_>>() as &[&str],
        &metadata.collect::<Vec<_>>() as &[&str],
        &items.iter().map(|item| &*item.delivered).collect::<Vec<_>>() as &[&[u8]],
        &items.iter().map(|item| item.received.as_deref()).collect::<Vec<_>>() as &[Option<&[u8]>],
        &items.iter().map(|item| item.hops).collect::<Vec<_>>(),
        &items.iter().map(|item| item.salt.as_bytes()).collect::<Vec<_>>() as &[&[u8]],
        &items.iter().map(|item| item.idempotency_key.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &credentials.iter().map(|(tenant_id, ..)| tenant_id.0).collect::<Vec<_>>(),
        &credentials.iter().map(|(_, key_hash, ..)| *key_hash).collect::<Vec<_>>() as &[&str],
        &credentials.iter().map(|(_, _, token_hash, _)| *token_hash).collect::<Vec<_>>() as &[&str],
        &credentials.iter().map(|(.., route_version)| *route_version).collect::<Vec<_>>(),
        WebhookEventFact::stored_version("EventAccepted"),
        &settings.iter().map(|(epoch, ..)| BigInt(*epoch)).collect::<Vec<_>>() as &[BigInt],
        &settings.iter().map(|(_, destination_id, ..)| destination_id.0).collect::<Vec<_>>(),
        &settings.iter().map(|(_, _, version, ..)| BigInt(*version)).collect::<Vec<_>>() as &[BigInt],
        &settings.iter().map(|(.., tenant_id, _)| tenant_id.0).collect::<Vec<_>>(),
        &settings.iter().map(|(.., version)| BigInt(*version)).collect::<Vec<_>>() as &[BigInt],
        WebhookEventFact::stored_version("DeliveryStarted"),
        &DestinationFact::VOIDING_JOBS.map(str::to_owned) as &[String],
    )
    .fetch_one(connection)
    .await
}
