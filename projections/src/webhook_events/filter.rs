//! What the list of webhook events can be filtered and sorted by.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, SenderId, WebhookEventId};
use sqlx::{Postgres, QueryBuilder};

use super::EventStatus;
use crate::listing::{Filter as _, list_filter, push_conditions, sort_fields};

list_filter! {
    /// Filter of the list of webhook events.
    Filter {
        /// Only events of this status.
        status: one_of EventStatus => "Status", "webhook_events.status = {}";
        /// Only events to this destination.
        destination_id: id DestinationId => "DestinationUrlId", "webhook_events.destination_id = {}";
        /// Only events accepted at or after this time.
        from: time_from => "From", "webhook_events.accepted_at >= {}";
        /// Only events accepted at or before this time; a date means its end.
        to: time_to => "To", "webhook_events.accepted_at <= {}";
        /// Only events that came through this sender.
        sender_id: id SenderId => "SenderId", "webhook_events.sender_id = {}";
        /// Only events whose last ended attempt had this outcome.
        outcome: one_of Outcome => "Outcome", "webhook_events.last_outcome = {}";
        /// Only events whose last ended attempt was answered with this HTTP status.
        http_status: http_status => "HttpStatus", "webhook_events.last_http_status = {}";
        /// Only the event with this idempotency key, also when the key was erased with the payload.
        id: idempotency_key WebhookEventId => "IdempotencyKey", "webhook_events.id = {}";
    }
}

/// Fields of [`Filter`] by which `webhook_event_counts` is divided.
const COUNTED_FIELDS: [&str; 4] = ["Status", "DestinationUrlId", "From", "To"];

sort_fields! {
    /// What events can be sorted by. The time of acceptance and then the id break ties, in the same
    /// direction.
    SortField {
        Id => "id",
        TenantId => "tenantId",
        DestinationUrlId => "destinationUrlId",
        Payload => "payload",
        Status => "status",
        IdempotencyKey => "idempotencyKey",
        CurrentRetryCount => "currentRetryCount",
        NextAttemptAt => "nextAttemptAt",
        #[default]
        AcceptedAt => "acceptedAt",
        DeliveredAt => "deliveredAt",
    }
}

/// The events of a tenant that match a filter and do not have one status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) filter: Filter,
    pub(super) except: Option<EventStatus>,
}

impl From<Filter> for Selection {
    fn from(filter: Filter) -> Self {
        Self { filter, except: None }
    }
}

impl Selection {
    /// Returns whether the number of its events follows from `webhook_event_counts`.
    pub(super) fn is_counted(self) -> bool {
        self.filter.terms().all(|(field, _)| COUNTED_FIELDS.contains(&field.name))
    }

    pub(super) fn includes(self, status: EventStatus) -> bool {
        self.filter.status.is_none_or(|only| only == status) && self.except != Some(status)
    }

    /// Adds its conditions to a statement on `webhook_events`.
    pub(super) fn push(self, query: &mut QueryBuilder<'_, Postgres>) {
        push_conditions(query, self.filter);
        if let Some(status) = self.except {
            query.push(" AND webhook_events.status <> ").push_bind(status.number());
        }
    }
}
