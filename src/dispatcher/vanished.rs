//! Giving up attempts whose worker vanished: started, and no outcome long after the timeout.
//!
//! Whether the request arrived is not known, so the outcome is `unknown`, and the event is retried. That
//! uses up none of the tenant's attempts, unless one worker after the other vanishes with this event. If the
//! worker was merely slow, its own outcome finds the version taken and is dropped; the destination may then
//! get the event twice, which is what "at least once" means.

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::webhook_event::{Delivery, UNKNOWN_IN_A_ROW_FREE, WebhookEvent, WebhookEventCommand};
use chrono::{DateTime, Utc};
use futures::future::join_all;

use super::due_deliveries::DueDelivery;
use super::{Term, before};
use crate::event_store::{Metadata, StreamAppendItem, StreamAppendResult};
use crate::identifiers;

impl Term<'_> {
    pub(super) async fn give_up_vanished(&mut self, now: DateTime<Utc>) {
        let vanished_before = before(now, self.dispatcher.settings.vanished_after);
        let vanished = self.schedule.vanished(vanished_before);
        // Together: a worker that vanished leaves as many attempts as it had under way, and one commit gives
        // up many of them.
        let given_up = join_all(vanished.iter().map(|delivery| self.give_up(delivery, now))).await;
        for (delivery, given_up) in vanished.iter().zip(given_up) {
            match given_up {
                Ok(StreamAppendResult::Recorded) => tracing::warn!(
                    event.id = %delivery.event_id,
                    attempt = delivery.attempts,
                    "an attempt has no outcome: its worker vanished; the event is retried"
                ),
                // The worker was slow and has recorded its outcome after all.
                Ok(StreamAppendResult::Conflict) => {}
                Err(error) => tracing::warn!(
                    event.id = %delivery.event_id,
                    error = ?error,
                    "an attempt without outcome could not be given up; it is tried again"
                ),
            }
        }
    }

    async fn give_up(
        &self,
        delivery: &DueDelivery,
        now: DateTime<Utc>,
    ) -> anyhow::Result<StreamAppendResult> {
        let started = delivery.started_at.unwrap_or(now);
        let duration_ms = u64::try_from((now - started).num_milliseconds()).unwrap_or_default();
        let under_way = WebhookEvent::Delivering(Delivery {
            destination_id: delivery.destination_id,
            attempts: delivery.attempts,
            failed_attempts: delivery.failed_attempts,
            unknown_in_a_row: delivery.unknown_in_a_row,
        });
        // Only an event that goes on like this uses up attempts: how many it has is not asked before.
        let max_attempts = match delivery.unknown_in_a_row < UNKNOWN_IN_A_ROW_FREE {
            true => u32::MAX,
            false => self.resilience(delivery.tenant_id).await?.max_attempts,
        };
        let detail = "the worker vanished before it recorded an outcome".to_owned();
        let facts = under_way.decide(WebhookEventCommand::RecordAttempt {
            report: AttemptReport::without_answer(Outcome::Unknown, duration_ms, Some(detail)),
            backoff: self.dispatcher.settings.backoff,
            max_attempts,
            jitter_sample: identifiers::random_fraction(),
            at: now,
        })?;
        let metadata = Metadata::of_role(delivery.tenant_id, "dispatcher");
        let item = StreamAppendItem::new(delivery.event_id, delivery.stream_version, &facts, &metadata)?;
        Ok(self.dispatcher.outcomes.commit(item).await?)
    }
}
