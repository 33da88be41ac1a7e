//! The list of webhook events, along every field the contract sorts by.
//!
//! Each order ends in the time of acceptance and the id. So every list is made of parts that follow one
//! another: by status, those of one status in the order of time after those of another; by a field that
//! may be absent, those that have it, sorted, and those that lack it, in the order of time. A part in the
//! order of time knows from the counts where a page begins ([`super::timeline`]); the others pass over
//! what comes before it.

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::page::{self, After, Extent, SortKey};
use super::timeline::{Statuses, Timeline};
use super::{Row, Status, WebhookEvent, recount};
use crate::paging::{Direction, sort_fields};
use crate::tenant_scope::TenantScope;

/// Which events to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only to this destination.
    pub destination_id: Option<DestinationId>,
    /// Only accepted at or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Only accepted at or before this time.
    pub to: Option<DateTime<Utc>>,
}

sort_fields! {
    /// What events can be sorted by. Where events are equal in a field, the time of acceptance and then
    /// the id decide, in the same direction.
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

impl SortField {
    /// Whether a place in a list that is sorted by it can be named. Payloads are too long to be.
    #[must_use]
    pub fn has_places(self) -> bool {
        self != Self::Payload
    }
}

/// A place in a sorted list: right behind an event, whether or not that is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What the list is sorted by, if the event has it.
    pub key: Option<Key>,
    /// When the event was accepted.
    pub accepted_at: DateTime<Utc>,
    pub id: Uuid,
}

/// What a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// A number.
    Number(i32),
    /// A text.
    Text(String),
    /// A time.
    Time(DateTime<Utc>),
    /// An id.
    Id(Uuid),
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// So many events after the first.
    Offset(i64),
    /// At a place.
    Behind(Place),
}

/// A page of the list, and how long the list is at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Events that match, on all pages.
    pub total: i64,
    /// Events of this page.
    pub items: Vec<WebhookEvent>,
    /// Where the next page begins; `None` when there is none, or when its place cannot be named.
    pub next: Option<Place>,
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// In the order of time, and counted.
    Counted(Filter, Statuses),
    /// Sorted by something that each of its events has.
    Sorted(SortKey),
    /// In the order of time: those that lack what the others are sorted by.
    Lacking(SortKey),
}

/// The events of the scope's tenant that match `filter`: at most `limit` from `start` on.
#[tracing::instrument(name = "db.webhook_events.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    limit: i64,
    start: Start,
) -> Result<Listing, sqlx::Error> {
    let recounting = recount::is_under_way(scope).await?;
    let total = Timeline::read(scope, filter, Statuses::of(filter), recounting).await?.total();
    let mut reading = Reading { filter, direction, total, recounting };
    let rows = match &start {
        Start::Offset(offset) if *offset >= total => vec![],
        // One more tells whether there is a next page.
        _ => reading.read(scope, sort, limit.saturating_add(1), &start).await?,
    };
    Listing::of(rows, total, limit, sort)
}

impl Listing {
    fn of(mut rows: Vec<Row>, total: i64, limit: i64, sort: SortField) -> Result<Self, sqlx::Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = rows.len() > limit && sort != SortField::Payload;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_next).map(|row| Place::of(row, sort));
        let items = rows.into_iter().map(WebhookEvent::try_from).collect::<Result<_, _>>()?;
        Ok(Self { total, items, next })
    }
}

impl Place {
    fn of(row: &Row, sort: SortField) -> Self {
        let key = match sort {
            SortField::AcceptedAt | SortField::TenantId | SortField::Payload => None,
            SortField::Id => Some(Key::Id(row.id)),
            SortField::DestinationUrlId => Some(Key::Id(row.destination_id)),
            SortField::Status => Some(Key::Number(row.status.into())),
            SortField::CurrentRetryCount => Some(Key::Number(row.failed_attempts)),
            SortField::IdempotencyKey => row.idempotency_key.clone().map(Key::Text),
            SortField::NextAttemptAt => row.next_attempt_at.map(Key::Time),
            SortField::DeliveredAt => row.delivered_at.map(Key::Time),
        };
        Self { key, accepted_at: row.accepted_at, id: row.id }
    }
}

impl Part {
    /// Whether a place of the list lies in this part.
    fn holds(self, place: &Place) -> bool {
        match (self, &place.key) {
            (Self::Counted(filter, _), Some(Key::Number(number))) => {
                filter.status.is_some_and(|status| i32::from(status.number()) == *number)
            }
            (Self::Counted(filter, _), Some(Key::Id(id))) => {
                filter.destination_id.is_some_and(|destination| destination.0 == *id)
            }
            (Self::Sorted(SortKey::Failures), Some(Key::Number(number))) => *number > 0,
            (Self::Lacking(SortKey::Failures), Some(Key::Number(number))) => *number == 0,
            (Self::Counted(..) | Self::Lacking(_), key) => key.is_none(),
            (Self::Sorted(_), key) => key.is_some(),
        }
    }
}

/// Reads a list part by part.
#[derive(Clone, Copy, Debug)]
struct Reading {
    filter: Filter,
    direction: Direction,
    total: i64,
    recounting: bool,
}

impl Reading {
    async fn read(
        &mut self,
        scope: &mut TenantScope,
        sort: SortField,
        wanted: i64,
        start: &Start,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let (mut offset, mut behind) = match start {
            Start::Offset(offset) => (*offset, None),
            Start::Behind(place) => (0, Some(place)),
        };
        let parts = self.parts(scope, sort, behind).await?;
        let is_divided = parts.len() > 1;
        let mut rows: Vec<Row> = vec![];
        let first = behind.map_or(Some(0), |place| parts.iter().position(|part| part.holds(place)));
        for part in parts.into_iter().skip(first.unwrap_or(usize::MAX)) {
            if offset > 0 && is_divided {
                let len = self.len(scope, part).await?;
                if offset >= len {
                    offset -= len;
                    continue;
                }
            }
            let missing = wanted - i64::try_from(rows.len()).unwrap_or(i64::MAX);
            rows.extend(self.read_part(scope, part, offset, missing, behind).await?);
            (offset, behind) = (0, None);
            if usize::try_from(wanted).is_ok_and(|wanted| rows.len() >= wanted) {
                break;
            }
        }
        Ok(rows)
    }

    /// The parts of the list, in its order.
    async fn parts(
        self,
        scope: &mut TenantScope,
        sort: SortField,
        behind: Option<&Place>,
    ) -> Result<Vec<Part>, sqlx::Error> {
        let filter = self.filter;
        let all = Part::Counted(filter, Statuses::of(filter));
        let by = |key| vec![Part::Sorted(key), Part::Lacking(key)];
        let mut parts = match (sort, filter) {
            // All of a scope's events have one tenant.
            (SortField::AcceptedAt | SortField::TenantId, _)
            | (SortField::Status, Filter { status: Some(_), .. })
            | (SortField::DestinationUrlId, Filter { destination_id: Some(_), .. }) => vec![all],
            (SortField::Status, _) => {
                let of =
                    |status| Part::Counted(Filter { status: Some(status), ..filter }, Statuses::Only(status));
                Status::ALL.into_iter().map(of).collect()
            }
            (SortField::DestinationUrlId, _) => {
                let of =
                    |id| Part::Counted(Filter { destination_id: Some(id), ..filter }, Statuses::of(filter));
                let mut ids = page::destinations(scope).await?;
                // That place is to be found even if all events there have been removed since.
                if let Some(Place { key: Some(Key::Id(id)), .. }) = behind {
                    ids.push(DestinationId(*id));
                    ids.sort_unstable();
                    ids.dedup();
                }
                ids.into_iter().map(of).collect()
            }
            // What is delivered is what succeeded.
            (SortField::DeliveredAt, Filter { status: Some(Status::Succeeded), .. }) => {
                vec![Part::Sorted(SortKey::DeliveredAt)]
            }
            (SortField::DeliveredAt, Filter { status: Some(_), .. }) => vec![all],
            (SortField::DeliveredAt, _) => vec![
                Part::Sorted(SortKey::DeliveredAt),
                Part::Counted(filter, Statuses::AllBut(Status::Succeeded)),
            ],
            (SortField::Id, _) => vec![Part::Sorted(SortKey::Id)],
            (SortField::CurrentRetryCount, _) => {
                vec![Part::Lacking(SortKey::Failures), Part::Sorted(SortKey::Failures)]
            }
            (SortField::IdempotencyKey, _) => by(SortKey::IdempotencyKey),
            (SortField::NextAttemptAt, _) => by(SortKey::NextAttemptAt),
            (SortField::Payload, _) => by(SortKey::Payload),
        };
        if self.direction.is_descending() {
            parts.reverse();
        }
        Ok(parts)
    }

    /// How many events a part has.
    async fn len(self, scope: &mut TenantScope, part: Part) -> Result<i64, sqlx::Error> {
        match part {
            Part::Counted(filter, statuses) => self.count(scope, filter, statuses).await,
            Part::Sorted(SortKey::Id) => Ok(self.total),
            Part::Sorted(SortKey::DeliveredAt) => {
                self.count(scope, self.filter, Statuses::Only(Status::Succeeded)).await
            }
            Part::Sorted(key) => page::count(scope, key, self.filter).await,
            Part::Lacking(key) => Ok(self.total - page::count(scope, key, self.filter).await?),
        }
    }

    async fn count(
        self,
        scope: &mut TenantScope,
        filter: Filter,
        statuses: Statuses,
    ) -> Result<i64, sqlx::Error> {
        Ok(Timeline::read(scope, filter, statuses, self.recounting).await?.total())
    }

    /// At most `limit` rows of a part: after the first `offset`, or behind a place in it.
    async fn read_part(
        self,
        scope: &mut TenantScope,
        part: Part,
        offset: i64,
        limit: i64,
        behind: Option<&Place>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let after = behind.map(|place| After { accepted_at: place.accepted_at, id: place.id });
        let extent = Extent { filter: self.filter, limit, offset };
        match part {
            Part::Sorted(key) => page::sorted(scope, key, extent, self.direction, behind).await,
            Part::Lacking(key) => page::lacking(scope, key, extent, self.direction, after).await,
            Part::Counted(filter, statuses) => {
                let timeline = Timeline::read(scope, filter, statuses, self.recounting).await?;
                let window = match after {
                    Some(after) => timeline.window_after(self.direction, after.accepted_at, limit),
                    None => timeline.window(scope, self.direction, offset, limit).await?,
                };
                let Some(window) = window else { return Ok(vec![]) };
                let filter = Filter { from: window.from, to: window.to, ..filter };
                let extent = Extent { filter, limit, offset: window.offset };
                page::in_time(scope, extent, statuses.all_but(), self.direction, after).await
            }
        }
    }
}
