//! Payloads of attempts that were claimed, read in batches.
//!
//! They are not returned by the statement that claims: a transaction that sends payloads to a process that has
//! stopped reading stays open, and with it every reader of the log waits.

use aggregates::ids::{TenantId, WebhookEventId};
use bytes::Bytes;
use sqlx::PgConnection;

use super::group_commit::Batch;

/// Event whose payload is read.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedEvent {
    pub event_id: WebhookEventId,
    pub tenant_id: TenantId,
}

/// Payload to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedPayload {
    pub bytes: Bytes,
    /// Installations that the webhook passed through before this one.
    pub hops: u16,
}

/// Reads that arrive during a read are made together in the next one. They change nothing.
#[derive(Debug)]
pub struct ClaimedPayloadBatch;

impl Batch for ClaimedPayloadBatch {
    type Item = ClaimedEvent;
    /// `None` when the payload was erased.
    type Outcome = Option<ClaimedPayload>;

    const IS_REPEATABLE: bool = true;

    fn bytes(_item: &ClaimedEvent) -> usize {
        size_of::<ClaimedEvent>()
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[ClaimedEvent],
    ) -> Result<Vec<Option<ClaimedPayload>>, sqlx::Error> {
        payloads(connection, items).await
    }
}

/// Returns a payload for each event that has one and is of that tenant. A join without LIMIT would be planned as a scan
/// of the whole table while that is small, and the plan is kept while it grows.
#[tracing::instrument(name = "db.payloads.of_claims", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn payloads(
    connection: &mut PgConnection,
    items: &[ClaimedEvent],
) -> Result<Vec<Option<ClaimedPayload>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT payload.delivered AS "delivered?", payload.hops AS "hops?"
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS claimed (event_id, tenant_id, number)
        LEFT JOIN LATERAL (
            SELECT delivered, hops
            FROM payloads
            WHERE payloads.event_id = claimed.event_id
              AND payloads.tenant_id = claimed.tenant_id
            LIMIT 1
        ) AS payload ON true
        ORDER BY number
        "#,
        &items.iter().map(|item| item.event_id.0).collect::<Vec<_>>(),
        &items.iter().map(|item| item.tenant_id.0).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    let payload = |bytes: Vec<u8>, hops| ClaimedPayload {
        bytes: Bytes::from(bytes),
        hops: u16::try_from(hops).unwrap_or_default(),
    };
    Ok(rows
        .into_iter()
        .map(|row| row.delivered.zip(row.hops).map(|(bytes, hops)| payload(bytes, hops)))
        .collect())
}
