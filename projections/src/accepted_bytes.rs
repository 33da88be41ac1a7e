//! Bytes of all payloads that each tenant has sent, those that were erased included.
//!
//! The payloads that a tenant has in storage are these without those that retention erased, which
//! [`retention`](crate::retention) counts. So this is a pure fold of the log.
//!
//! As in `delivery_statistics`, a row has facts of many streams, and therefore the position of the last fact that was
//! counted: facts at or before that position are counted already.

use aggregates::fact::Fact;
use aggregates::ids::TenantId;
use aggregates::webhook_event::{Acceptance, MappingResult, WebhookEventFact};
use sqlx::PgConnection;

use crate::big_int::BigInt;
use crate::fold::{AggregateFact, ApplyFailure};
use crate::logged_fact::{LoggedFact, TransactionId};
use crate::projection::ReadModel;

#[derive(Debug)]
pub(crate) struct AcceptedBytes;

impl ReadModel for AcceptedBytes {
    const NAME: &'static str = "accepted_bytes";
    const AGGREGATES: &'static [&'static str] = &[WebhookEventFact::AGGREGATE];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        Ok(add(connection, facts).await?)
    }
}

/// Adds the payloads of the events that were accepted, with one statement: it is executed for every page of the log.
#[tracing::instrument(name = "db.accepted_bytes.add", level = "trace", skip_all, err(level = "debug"))]
async fn add(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), sqlx::Error> {
    let accepted: Vec<(&LoggedFact, u64)> = facts
        .iter()
        .filter_map(|logged| match &logged.fact {
            Fact::WebhookEvent(WebhookEventFact::EventAccepted(acceptance)) => {
                Some((logged, stored_bytes(acceptance)))
            }
            _ => None,
        })
        .collect();
    if accepted.is_empty() {
        return Ok(());
    }
    let tenants: Vec<_> = accepted.iter().map(|(logged, _)| logged.tenant_id.0).collect();
    let bytes: Vec<_> = accepted.iter().map(|(_, bytes)| BigInt(*bytes)).collect();
    let transactions: Vec<_> = accepted.iter().map(|(logged, _)| logged.position.transaction_id).collect();
    let positions: Vec<_> = accepted.iter().map(|(logged, _)| logged.position.position).collect();
    sqlx::query!(
        r#"
        INSERT INTO accepted_bytes AS row (tenant_id, bytes, transaction_id, position)
        SELECT
            fact.tenant_id,
            sum(fact.bytes)::bigint,
            (array_agg(fact.transaction_id ORDER BY fact.number DESC))[1],
            (array_agg(fact.position ORDER BY fact.number DESC))[1]
        FROM unnest($1::uuid[], $2::bigint[], $3::xid8[], $4::bigint[]) WITH ORDINALITY
            AS fact (tenant_id, bytes, transaction_id, position, number)
        LEFT JOIN accepted_bytes AS present ON present.tenant_id = fact.tenant_id
        WHERE ((present.transaction_id, present.position) < (fact.transaction_id, fact.position)) IS NOT FALSE
        GROUP BY fact.tenant_id
        ORDER BY fact.tenant_id
        ON CONFLICT (tenant_id) DO UPDATE SET
            bytes = row.bytes + excluded.bytes,
            transaction_id = excluded.transaction_id,
            position = excluded.position
        "#,
        &tenants,
        &bytes as &[BigInt],
        &transactions as &[TransactionId],
        &positions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the size of what is stored for an event: the delivered payload, and the received one if a mapping was applied.
fn stored_bytes(acceptance: &Acceptance) -> u64 {
    let received = match &acceptance.mapping {
        Some(MappingResult::Applied(received)) => received.bytes,
        Some(MappingResult::Failed(_)) | None => 0,
    };
    acceptance.payload.bytes.saturating_add(received)
}

/// Returns the tenants whose payloads in storage have at least `bytes` together, as far as the read model is.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.accepted_bytes.stored", level = "debug", skip_all, err(level = "debug"))]
pub async fn tenants_with_stored(
    connection: &mut PgConnection,
    bytes: u64,
) -> Result<Vec<TenantId>, sqlx::Error> {
    let tenants = sqlx::query_scalar!(
        "
        SELECT accepted.tenant_id
        FROM accepted_bytes AS accepted
        LEFT JOIN retention_floors AS floor ON floor.tenant_id = accepted.tenant_id
        WHERE accepted.bytes - coalesce(floor.erased_bytes, 0) >= $1
        ",
        i64::try_from(bytes).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await?;
    Ok(tenants.into_iter().map(TenantId).collect())
}
