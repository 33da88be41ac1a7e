//! Where a page of the list of webhook events begins.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::SortField;
use super::page::PageRow;

/// Position in a sorted list: right after an event, even if that event has been removed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// The event's value in the field that the list is sorted by, if it has one.
    pub key: Option<CursorKey>,
    pub accepted_at: DateTime<Utc>,
    pub id: Uuid,
}

/// Value that a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CursorKey {
    Number(i32),
    Text(String),
    Time(DateTime<Utc>),
    Id(Uuid),
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// So many events after the first.
    Offset(i64),
    After(PageCursor),
}

impl PageCursor {
    pub(super) fn after(row: &PageRow, sort: SortField) -> Self {
        let PageRow { event, idempotency_key } = row;
        let key = match sort {
            SortField::AcceptedAt | SortField::TenantId | SortField::Payload => None,
            SortField::Id => Some(CursorKey::Id(event.id)),
            SortField::DestinationUrlId => Some(CursorKey::Id(event.destination_id)),
            SortField::Status => Some(CursorKey::Number(event.status.into())),
            SortField::CurrentRetryCount => Some(CursorKey::Number(event.failed_attempts)),
            SortField::IdempotencyKey => idempotency_key.clone().map(CursorKey::Text),
            SortField::NextAttemptAt => event.next_attempt_at.map(CursorKey::Time),
            SortField::DeliveredAt => event.delivered_at.map(CursorKey::Time),
        };
        Self { key, accepted_at: event.accepted_at, id: event.id }
    }
}

impl CursorKey {
    pub(super) fn push_bind(&self, query: &mut QueryBuilder<'_, Postgres>) {
        match self {
            Self::Number(number) => query.push_bind(*number),
            Self::Text(text) => query.push_bind(text.clone()),
            Self::Time(time) => query.push_bind(*time),
            Self::Id(id) => query.push_bind(*id),
        };
    }
}
