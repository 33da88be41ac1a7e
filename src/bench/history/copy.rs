//! Rows as `COPY` takes them: text, a tab between columns, a line a row.

use anyhow::Context;
use sqlx::{Connection, PgConnection};

use super::event_generator::Life;
use crate::event_store::Metadata;

const INTO_EVENTS: &str = "COPY events
    (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) FROM STDIN";
const INTO_PAYLOADS: &str = "COPY payloads (event_id, tenant_id, delivered) FROM STDIN";

/// Copies whole lives, in one transaction. Answers how many facts they have.
pub(super) async fn copy(connection: &mut PgConnection, lives: &[Life]) -> anyhow::Result<u64> {
    let (mut facts, mut payloads) = (String::new(), String::new());
    let mut count = 0;
    for life in lives {
        let metadata = serde_json::to_string(&Metadata::of_role(life.tenant_id, "bench"))?;
        for (sequence, fact) in (1u64..).zip(&life.facts) {
            let (event_type, event_version) = cqrs_type(fact);
            let fact = serde_json::to_string(fact)?;
            row(
                &mut facts,
                &[
                    "WebhookEvent",
                    &life.id.to_string(),
                    &sequence.to_string(),
                    &event_type,
                    &event_version,
                    &fact,
                    &metadata,
                ],
            );
            count += 1;
        }
        let bytes = format!("\\x{}", hex::encode(&life.payload));
        row(&mut payloads, &[&life.id.to_string(), &life.tenant_id.to_string(), &bytes]);
    }
    let mut transaction = connection.begin().await?;
    for (statement, rows) in [(INTO_EVENTS, facts), (INTO_PAYLOADS, payloads)] {
        let mut into = transaction.copy_in_raw(statement).await?;
        into.send(rows.into_bytes()).await.context("the rows cannot be sent")?;
        into.finish().await.context("the rows are not taken")?;
    }
    transaction.commit().await?;
    Ok(count)
}

fn cqrs_type(fact: &impl cqrs_es::DomainEvent) -> (String, String) {
    (fact.event_type(), fact.event_version())
}

/// Adds a row; what means something to `COPY` is escaped.
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
    fn what_copy_would_understand_is_escaped() {
        let mut text = String::new();
        row(&mut text, &["a\tb\\c", "d\ne\rf"]);
        row(&mut text, &["é"]);
        assert_eq!(text, "a\\tb\\\\c\td\\ne\\rf\né\n");
    }
}
