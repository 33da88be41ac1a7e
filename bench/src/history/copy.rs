//! Copies generated events into the log, in the text format of `COPY`: tabs between columns, one line a row.

use aggregates::ids::TenantId;
use anyhow::Context;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::event_generator::GeneratedEvent;

const INTO_EVENTS: &str = "COPY events
    (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) FROM STDIN";
const INTO_PAYLOADS: &str = "COPY payloads
    (event_id, tenant_id, delivered, salt, idempotency_key) FROM STDIN WITH (NULL '')";

/// Metadata of a fact, in the form in which the event store writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    tenant_id: TenantId,
    actor: &'static str,
}

/// Copies all facts of the events and their payloads in one transaction. Returns the number of facts.
pub(super) async fn copy(connection: &mut PgConnection, events: &[GeneratedEvent]) -> anyhow::Result<u64> {
    let (mut facts, mut payloads) = (String::new(), String::new());
    let mut count = 0;
    for event in events {
        let metadata = serde_json::to_string(&Metadata { tenant_id: event.tenant_id, actor: "role:bench" })?;
        for (sequence, fact) in (1u64..).zip(&event.facts) {
            let (event_type, event_version) = type_and_version(fact);
            let fact = serde_json::to_string(fact)?;
            row(
                &mut facts,
                &[
                    "WebhookEvent",
                    &event.id.to_string(),
                    &sequence.to_string(),
                    &event_type,
                    &event_version,
                    &fact,
                    &metadata,
                ],
            );
            count += 1;
        }
        let (bytes, salt) = (hex_of(&event.payload), hex_of(&event.salt));
        let key = event.idempotency_key.as_deref().unwrap_or_default();
        row(&mut payloads, &[&event.id.to_string(), &event.tenant_id.to_string(), &bytes, &salt, key]);
    }
    let mut transaction = connection.begin().await?;
    for (statement, rows) in [(INTO_EVENTS, facts), (INTO_PAYLOADS, payloads)] {
        let mut into = transaction.copy_in_raw(statement).await?;
        into.send(rows.into_bytes()).await.context("cannot send rows")?;
        into.finish().await.context("the database refuses the rows")?;
    }
    transaction.commit().await?;
    Ok(count)
}

/// Returns bytes in the text form of `bytea`.
fn hex_of(bytes: &[u8]) -> String {
    format!("\\x{}", hex::encode(bytes))
}

fn type_and_version(fact: &impl cqrs_es::DomainEvent) -> (String, String) {
    (fact.event_type(), fact.event_version())
}

/// Appends a row, with the special characters of `COPY` escaped.
fn row(text: &mut String, columns: &[&str]) {
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            text.push('\t');
        }
        for character in column.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                other => text.push(other),
            }
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn special_characters_of_copy_are_escaped() {
        let mut text = String::new();
        row(&mut text, &["a\tb\\c", "d\ne\rf"]);
        row(&mut text, &["é"]);
        assert_eq!(text, "a\\tb\\\\c\td\\ne\\rf\né\n");
    }
}
