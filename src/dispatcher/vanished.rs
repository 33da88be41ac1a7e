//! Giving up attempts whose worker vanished: started, and no outcome long after the timeout.
//!
//! Whether the request arrived is not known, so the outcome is `unknown`, it uses up none of the
//! tenant's attempts, and the event is retried. If the worker was merely slow, its own outcome finds the
//! version taken and is dropped; the destination may then get the event twice, which is what "at least
//! once" means.

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::webhook_event::{Delivery, WebhookEvent, WebhookEventCommand};
use aggregates::{Decide, tenant::MAX_TRYS_DEFAULT};
use chrono::{DateTime, Utc};

use super::due_deliveries::DueDelivery;
use super::{Term, before};
use crate::event_store::{Metadata, OutcomeItem, OutcomeResult};
use crate::identifiers;

impl Term<'_> {
    pub(super) async fn give_up_vanished(&mut self, now: DateTime<Utc>) {
        let vanished_before = before(now, self.dispatcher.settings.vanished_after);
        for delivery in self.schedule.vanished(vanished_before) {
            match self.give_up(&delivery, now).await {
                Ok(OutcomeResult::Recorded) => tracing::warn!(
                    event.id = %delivery.event_id,
                    attempt = delivery.attempts,
                    "an attempt has no outcome: its worker vanished; the event is retried"
                ),
                // The worker was slow and has recorded its outcome after all.
                Ok(OutcomeResult::Conflict) => {}
                Err(error) => tracing::warn!(
                    event.id = %delivery.event_id,
                    error = ?error,
                    "an attempt without outcome could not be given up; it is tried again"
                ),
            }
        }
    }

    async fn give_up(&self, delivery: &DueDelivery, now: DateTime<Utc>) -> anyhow::Result<OutcomeResult> {
        let started = delivery.started_at.unwrap_or(now);
        let duration_ms = u64::try_from((now - started).num_milliseconds()).unwrap_or_default();
        let under_way = WebhookEvent::Delivering(Delivery {
            destination_id: delivery.destination_id,
            attempts: delivery.attempts,
            failed_attempts: delivery.failed_attempts,
        });
        let detail = "the worker vanished before it recorded an outcome".to_owned();
        let facts = under_way.decide(WebhookEventCommand::RecordAttempt {
            report: AttemptReport::without_answer(Outcome::Unknown, duration_ms, Some(detail)),
            backoff: self.dispatcher.settings.backoff,
            // An unknown outcome uses up no attempt, so any number above those used will do.
            max_trys: MAX_TRYS_DEFAULT.max(delivery.failed_attempts + 1),
            chance: identifiers::chance(),
            at: now,
        })?;
        let metadata = Metadata::of_role(delivery.tenant_id, "dispatcher");
        let item = OutcomeItem::new(delivery.event_id, delivery.stream_version, &facts, &metadata)?;
        Ok(self.dispatcher.outcomes.commit(item).await?)
    }
}
