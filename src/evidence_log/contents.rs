//! What facts commit to and the event log does not contain, because it can be erased: payloads, what is kept of responses,
//! email addresses, and from where people caused facts.

use aggregates::ids::TenantId;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use projections::BigInt;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// Commitments of a fact to what is stored outside the log, in lower-case hex. `None` in facts of an early version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    Payload {
        delivered: Option<String>,
        /// The payload as it was received, if a mapping transformed it.
        received: Option<String>,
    },
    Response {
        attempt: u32,
        commitment: String,
    },
    Email {
        commitment: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Commitment {
    hmac_sha256: Option<String>,
}

#[derive(Deserialize)]
enum Form {
    EventAccepted { payload: Commitment, mapping: Option<Mapping> },
    DeliveryAttempted { attempt: u32, report: Report },
    UserRegistered(EmailForm),
    EmailChanged(EmailForm),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmailForm {
    email_hmac_sha256: Option<String>,
}

/// Entries of metadata that name the origin of a fact.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OriginForm {
    origin_id: Option<Uuid>,
    origin_hmac_sha256: Option<String>,
}

/// Returns the id of the origin of a fact and the commitment to it, in lower-case hex; `None`: no person caused the fact.
pub(crate) fn origin_of(metadata: &str) -> Option<(Uuid, String)> {
    // Few facts have one, and parsing all would cost more than hashing them.
    if !metadata.contains("originHmacSha256") {
        return None;
    }
    let form: OriginForm = serde_json::from_str(metadata).ok()?;
    form.origin_id.zip(form.origin_hmac_sha256)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    applied: Option<Commitment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    response_hmac_sha256: Option<String>,
}

/// Returns what a fact commits to outside the log; `None`: nothing.
///
/// # Errors
/// The text is not the fact of this type.
pub(crate) fn of_fact(fact_type: &str, fact: &str) -> Result<Option<Contents>, serde_json::Error> {
    if !matches!(fact_type, "EventAccepted" | "DeliveryAttempted" | "UserRegistered" | "EmailChanged") {
        return Ok(None);
    }
    Ok(match serde_json::from_str(fact)? {
        Form::EventAccepted { payload, mapping } => Some(Contents::Payload {
            delivered: payload.hmac_sha256,
            received: mapping.and_then(|mapping| mapping.applied).and_then(|applied| applied.hmac_sha256),
        }),
        Form::DeliveryAttempted { attempt, report } => {
            report.response_hmac_sha256.map(|commitment| Contents::Response { attempt, commitment })
        }
        Form::UserRegistered(form) | Form::EmailChanged(form) => {
            form.email_hmac_sha256.map(|commitment| Contents::Email { commitment })
        }
    })
}

/// A payload as it is stored.
#[derive(Debug)]
pub(crate) struct StoredPayload {
    pub(crate) event_id: Uuid,
    pub(crate) delivered: Vec<u8>,
    /// `None`: it was received as it is delivered.
    pub(crate) received: Option<Vec<u8>>,
    /// `None`: its fact has no commitment.
    pub(crate) salt: Option<Vec<u8>>,
}

/// What is kept of the response to an attempt.
#[derive(Debug)]
pub(crate) struct KeptResponse {
    pub(crate) event_id: Uuid,
    pub(crate) attempt: i32,
    /// Exactly the text that the commitment is for.
    pub(crate) response: String,
    pub(crate) salt: Vec<u8>,
}

/// Returns the payloads of webhook events that are still stored, in the order of the events, one at a time: each may
/// have megabytes. `events` have the tenant of each.
#[tracing::instrument(name = "db.payloads.stored", level = "trace", skip_all)]
pub(crate) fn payloads<'c>(
    connection: &'c mut PgConnection,
    events: &[(TenantId, Uuid)],
) -> BoxStream<'c, Result<StoredPayload, sqlx::Error>> {
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = events.iter().map(|(tenant, id)| (tenant.0, *id)).unzip();
    sqlx::query!(
        r#"
        SELECT event_id AS "event_id!", delivered, received, salt
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS wanted (tenant_id, event_id, number)
        JOIN payloads USING (tenant_id, event_id)
        ORDER BY number
        "#,
        &tenants,
        &ids,
    )
    .fetch(connection)
    .map_ok(|row| StoredPayload {
        event_id: row.event_id,
        delivered: row.delivered,
        received: row.received,
        salt: row.salt,
    })
    .boxed()
}

/// Returns what is still kept of the responses to attempts of webhook events. `attempts` have the tenant, the event and
/// the number of each.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.attempt_responses.kept", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn responses(
    connection: &mut PgConnection,
    attempts: &[(TenantId, Uuid, i32)],
) -> Result<Vec<KeptResponse>, sqlx::Error> {
    sqlx::query_as!(
        KeptResponse,
        r#"
        SELECT event_id AS "event_id!", attempt AS "attempt!", response::text AS "response!", salt AS "salt!"
        FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted (tenant_id, event_id, attempt)
        JOIN attempt_responses USING (tenant_id, event_id, attempt)
        "#,
        &attempts.iter().map(|(tenant, ..)| tenant.0).collect::<Vec<_>>(),
        &attempts.iter().map(|(_, event, _)| *event).collect::<Vec<_>>(),
        &attempts.iter().map(|(.., attempt)| *attempt).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// A text that is stored outside the log, and the key of its commitment.
#[derive(Debug)]
pub(crate) struct StoredText {
    /// Number of the one that was asked for, from 1.
    pub(crate) number: i64,
    pub(crate) text: String,
    pub(crate) salt: Vec<u8>,
}

/// Returns the email addresses that facts of users have set, as far as they are not erased. `facts` have the tenant, the user
/// and the version of each.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.user_emails.stored", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn emails(
    connection: &mut PgConnection,
    facts: &[(TenantId, Uuid, BigInt)],
) -> Result<Vec<StoredText>, sqlx::Error> {
    sqlx::query_as!(
        StoredText,
        r#"
        SELECT number AS "number!", email AS "text!", salt AS "salt!"
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) WITH ORDINALITY
            AS wanted (tenant_id, user_id, version, number)
        JOIN user_emails USING (tenant_id, user_id, version)
        "#,
        &facts.iter().map(|(tenant, ..)| tenant.0).collect::<Vec<_>>(),
        &facts.iter().map(|(_, user, _)| *user).collect::<Vec<_>>(),
        &facts.iter().map(|(.., version)| *version).collect::<Vec<_>>() as &[BigInt],
    )
    .fetch_all(connection)
    .await
}

/// Returns the origins of facts, as far as they are not erased. `ids` have the tenant of each.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.fact_origins.stored", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn origins(
    connection: &mut PgConnection,
    ids: &[(TenantId, Uuid)],
) -> Result<Vec<StoredText>, sqlx::Error> {
    sqlx::query_as!(
        StoredText,
        r#"
        SELECT number AS "number!", origin::text AS "text!", salt AS "salt!"
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS wanted (tenant_id, id, number)
        JOIN fact_origins USING (tenant_id, id)
        WHERE origin IS NOT NULL
        "#,
        &ids.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>(),
        &ids.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commitments_of_facts_are_found() {
        let accepted = r#"{"EventAccepted":{"payload":{"hmacSha256":"aa","bytes":7},
            "mapping":{"applied":{"hmacSha256":"bb","bytes":9}},"at":"2026-11-21T14:32:00Z"}}"#;
        let payload = |received: Option<&str>| Contents::Payload {
            delivered: Some("aa".to_owned()),
            received: received.map(str::to_owned),
        };
        assert_eq!(of_fact("EventAccepted", accepted).unwrap(), Some(payload(Some("bb"))));
        let failed = accepted.replace(r#"{"applied":{"hmacSha256":"bb","bytes":9}}"#, r#"{"failed":"no"}"#);
        assert_eq!(of_fact("EventAccepted", &failed).unwrap(), Some(payload(None)));

        let attempted = r#"{"DeliveryAttempted":{"attempt":3,"report":{"responseHmacSha256":"cc"}}}"#;
        let response = Contents::Response { attempt: 3, commitment: "cc".to_owned() };
        assert_eq!(of_fact("DeliveryAttempted", attempted).unwrap(), Some(response));
        let changed = r#"{"EmailChanged":{"emailHmacSha256":"dd","at":"2026-11-21T14:32:00Z"}}"#;
        let email = Contents::Email { commitment: "dd".to_owned() };
        assert_eq!(of_fact("EmailChanged", changed).unwrap(), Some(email));
        let id = Uuid::from_u128(7);
        let metadata = format!(r#"{{"actor":"user:1","originId":"{id}","originHmacSha256":"ee"}}"#);
        assert_eq!(origin_of(&metadata), Some((id, "ee".to_owned())));
        assert_eq!(origin_of(r#"{"actor":"role:worker"}"#), None);
        assert_eq!(of_fact("RetryScheduled", "{}").unwrap(), None);
        assert!(of_fact("EventAccepted", "{}").is_err());
    }
}
