//! What is kept of the responses to attempts: read and erased here.
//!
//! It is not a read model: the append that records an attempt stores it.

use std::collections::{BTreeMap, HashMap};

use aggregates::ids::WebhookEventId;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::columns::known;
use crate::retention::uuids;
use crate::tenant_scope::TenantScope;

/// What is kept of a response. The commitment in the fact is for its JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptResponse {
    /// Selected headers, each cut to a bounded length.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// First 2 KiB of the body, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl AttemptResponse {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.excerpt.is_none()
    }
}

/// Returns what is kept of the responses to those attempts of an event of the scope's tenant, by the number of the
/// attempt.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(
    name = "db.attempt_responses.of_event",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub async fn of_event(
    scope: &mut TenantScope,
    event_id: WebhookEventId,
    attempts: &[u32],
) -> Result<HashMap<u32, AttemptResponse>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let attempts: Vec<i32> = attempts.iter().filter_map(|attempt| i32::try_from(*attempt).ok()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT attempt, response::text AS "response!"
        FROM attempt_responses
        WHERE tenant_id = $1 AND event_id = $2 AND attempt = ANY($3)
        "#,
        tenant_id,
        event_id.0,
        &attempts,
    )
    .fetch_all(scope.connection())
    .await?;
    rows.into_iter()
        .map(|row| {
            let attempt = known("attempt", u32::try_from(row.attempt).ok())?;
            Ok((attempt, known("response", serde_json::from_str(&row.response).ok())?))
        })
        .collect()
}

/// Erases what is kept of the responses to all attempts of those events.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.attempt_responses.erase", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn erase(connection: &mut PgConnection, ids: &[WebhookEventId]) -> Result<(), sqlx::Error> {
    let erased = sqlx::query!("DELETE FROM attempt_responses WHERE event_id = ANY($1)", &uuids(ids));
    erased.execute(connection).await?;
    Ok(())
}
