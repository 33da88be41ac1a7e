//! The list of webhook events, sorted by every field of the API.
//!
//! Each order ends in the time of acceptance and the id. A list is therefore divided into parts that follow
//! one another: sorted by status, the events of one status in the order of time, then those of the next; sorted
//! by a field that may be absent, the events that have it, sorted, then those that do not, in the order of time.
//! For a part in the order of time the counts say where a page begins ([`super::timeline`]); in the others an
//! offset skips rows.

use aggregates::ids::DestinationId;

use super::cursor::{CursorKey, PageCursor, PageStart};
use super::filter::{Filter, Selection, SortField};
use super::page::{self, Order, PageQuery, PageRow, SortKey};
use super::timeline::Timeline;
use super::{EventStatus, WebhookEvent, recount};
use crate::paging::Direction;
use crate::tenant_scope::TenantScope;

/// Events that a list counts where counts are not kept.
pub const COUNTED_MAX: i64 = 10_000;

/// A page of the list, and the length of the list at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Events that match, on all pages.
    pub total: i64,
    /// Whether more events match than `total`, at which counting ended.
    pub has_more_than_total: bool,
    /// Events of this page.
    pub items: Vec<WebhookEvent>,
    /// Where the next page begins; `None` on the last page and when sorted by payload, which is too long for a
    /// cursor.
    pub next: Option<PageCursor>,
}

/// Part of a list.
#[derive(Clone, Copy, Debug)]
struct Part {
    selection: Selection,
    order: Order,
}

/// Lists the events of the scope's tenant that match `filter`: at most `limit`, from `start` on.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    limit: i64,
    start: PageStart,
) -> Result<Listing, sqlx::Error> {
    let recounting = recount::is_in_progress(scope).await?;
    if matches!(sort, SortField::AcceptedAt | SortField::TenantId) && !Selection::from(filter).is_counted() {
        return list_uncounted(scope, filter, direction, limit, start).await;
    }
    let total = Timeline::read(scope, filter.into(), recounting).await?.total();
    let reader = Reader { filter, sort, direction, total, recounting };
    let rows = match &start {
        PageStart::Offset(offset) if *offset >= total => vec![],
        // One more row shows whether there is a next page.
        _ => reader.read(scope, limit.saturating_add(1), &start).await?,
    };
    Listing::of(rows, total, limit, sort)
}

/// Lists events by time where `webhook_event_counts` does not say how many there are. It counts no more than
/// [`COUNTED_MAX`], because they may be all that the tenant has.
async fn list_uncounted(
    scope: &mut TenantScope,
    filter: Filter,
    direction: Direction,
    limit: i64,
    start: PageStart,
) -> Result<Listing, sqlx::Error> {
    let selection = Selection::from(filter);
    let counted = page::count_up_to(scope, selection, COUNTED_MAX + 1).await?;
    let (offset, after) = match &start {
        PageStart::Offset(offset) => (*offset, None),
        PageStart::After(cursor) => (0, Some(cursor)),
    };
    let page = PageQuery {
        selection,
        order: Order::ByTime,
        direction,
        after,
        limit: limit.saturating_add(1),
        offset,
    };
    let rows = page::read(scope, page).await?;
    let listing = Listing::of(rows, counted.min(COUNTED_MAX), limit, SortField::AcceptedAt)?;
    Ok(Listing { has_more_than_total: counted > COUNTED_MAX, ..listing })
}

impl Listing {
    fn of(mut rows: Vec<PageRow>, total: i64, limit: i64, sort: SortField) -> Result<Self, sqlx::Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = rows.len() > limit && sort != SortField::Payload;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_next).map(|row| PageCursor::after(row, sort));
        let items = rows.into_iter().map(|row| row.event.try_into()).collect::<Result<_, _>>()?;
        Ok(Self { total, has_more_than_total: false, items, next })
    }
}

impl Part {
    /// Returns whether the cursor's position is in this part.
    fn contains(self, cursor: &PageCursor) -> bool {
        let Filter { status, destination_id, .. } = self.selection.filter;
        match (self.order, &cursor.key) {
            (Order::ByTime, Some(CursorKey::Number(number))) => {
                status.is_some_and(|status| i32::from(status.number()) == *number)
            }
            (Order::ByTime, Some(CursorKey::Id(id))) => {
                destination_id.is_some_and(|destination| destination.0 == *id)
            }
            (Order::ByKey(SortKey::Failures), Some(CursorKey::Number(number))) => *number > 0,
            (Order::WithoutKey(SortKey::Failures), Some(CursorKey::Number(number))) => *number == 0,
            (Order::ByTime | Order::WithoutKey(_), key) => key.is_none(),
            (Order::ByKey(_), key) => key.is_some(),
        }
    }
}

/// Reads a list part by part.
#[derive(Clone, Copy, Debug)]
struct Reader {
    filter: Filter,
    sort: SortField,
    direction: Direction,
    /// Length of the list.
    total: i64,
    /// Whether `webhook_event_counts` is incomplete.
    recounting: bool,
}

impl Reader {
    async fn read(
        self,
        scope: &mut TenantScope,
        wanted: i64,
        start: &PageStart,
    ) -> Result<Vec<PageRow>, sqlx::Error> {
        let (mut offset, mut after) = match start {
            PageStart::Offset(offset) => (*offset, None),
            PageStart::After(cursor) => (0, Some(cursor)),
        };
        let mut parts = self.parts(scope, after).await?;
        if self.direction.is_descending() {
            parts.reverse();
        }
        let is_divided = parts.len() > 1;
        let mut rows: Vec<PageRow> = vec![];
        let first = after.map_or(Some(0), |cursor| parts.iter().position(|part| part.contains(cursor)));
        for part in parts.into_iter().skip(first.unwrap_or(usize::MAX)) {
            if offset > 0 && is_divided {
                let len = self.len(scope, part).await?;
                if offset >= len {
                    offset -= len;
                    continue;
                }
            }
            let missing = wanted - i64::try_from(rows.len()).unwrap_or(i64::MAX);
            rows.extend(self.read_part(scope, part, offset, missing, after).await?);
            (offset, after) = (0, None);
            if usize::try_from(wanted).is_ok_and(|wanted| rows.len() >= wanted) {
                break;
            }
        }
        Ok(rows)
    }

    /// Returns the parts of the list in ascending order.
    async fn parts(
        self,
        scope: &mut TenantScope,
        after: Option<&PageCursor>,
    ) -> Result<Vec<Part>, sqlx::Error> {
        let filter = self.filter;
        let by_time = |filter: Filter| Part { selection: filter.into(), order: Order::ByTime };
        let by_key = |key| Part { selection: filter.into(), order: Order::ByKey(key) };
        let without_key = |key| Part { selection: filter.into(), order: Order::WithoutKey(key) };
        let nulls_last = |key| vec![by_key(key), without_key(key)];
        Ok(match (self.sort, filter) {
            // All events of a scope have the same tenant.
            (SortField::AcceptedAt | SortField::TenantId, _)
            | (SortField::Status, Filter { status: Some(_), .. })
            | (SortField::DestinationUrlId, Filter { destination_id: Some(_), .. }) => vec![by_time(filter)],
            (SortField::Status, _) => EventStatus::ALL
                .iter()
                .map(|status| by_time(Filter { status: Some(*status), ..filter }))
                .collect(),
            (SortField::DestinationUrlId, _) => {
                let ids = destinations(scope, after).await?;
                ids.into_iter().map(|id| by_time(Filter { destination_id: Some(id), ..filter })).collect()
            }
            // Exactly the events that succeeded have a time of delivery.
            (SortField::DeliveredAt, Filter { status: Some(EventStatus::Succeeded), .. }) => {
                vec![by_key(SortKey::DeliveredAt)]
            }
            (SortField::DeliveredAt, Filter { status: Some(_), .. }) => vec![by_time(filter)],
            (SortField::DeliveredAt, _) => {
                let selection = Selection { filter, except: Some(EventStatus::Succeeded) };
                vec![by_key(SortKey::DeliveredAt), Part { selection, order: Order::ByTime }]
            }
            (SortField::Id, _) => vec![by_key(SortKey::Id)],
            (SortField::CurrentRetryCount, _) => {
                vec![without_key(SortKey::Failures), by_key(SortKey::Failures)]
            }
            (SortField::IdempotencyKey, _) => nulls_last(SortKey::IdempotencyKey),
            (SortField::NextAttemptAt, _) => nulls_last(SortKey::NextAttemptAt),
            (SortField::Payload, _) => nulls_last(SortKey::Payload),
        })
    }

    /// Counts the events of a part.
    async fn len(self, scope: &mut TenantScope, part: Part) -> Result<i64, sqlx::Error> {
        let Part { selection, order } = part;
        match order {
            Order::ByTime => self.count(scope, selection).await,
            Order::ByKey(SortKey::Id) => Ok(self.total),
            Order::ByKey(SortKey::DeliveredAt) => {
                let delivered = Filter { status: Some(EventStatus::Succeeded), ..selection.filter };
                self.count(scope, delivered.into()).await
            }
            Order::ByKey(key) => page::count_with_key(scope, key, selection).await,
            Order::WithoutKey(key) => Ok(self.total - page::count_with_key(scope, key, selection).await?),
        }
    }

    async fn count(self, scope: &mut TenantScope, selection: Selection) -> Result<i64, sqlx::Error> {
        Ok(Timeline::read(scope, selection, self.recounting).await?.total())
    }

    /// Reads at most `limit` rows of a part: after the first `offset`, or after a cursor in it.
    async fn read_part(
        self,
        scope: &mut TenantScope,
        part: Part,
        offset: i64,
        limit: i64,
        after: Option<&PageCursor>,
    ) -> Result<Vec<PageRow>, sqlx::Error> {
        let (Part { selection, order }, direction) = (part, self.direction);
        if order != Order::ByTime {
            return page::read(scope, PageQuery { selection, order, direction, after, limit, offset }).await;
        }
        let timeline = Timeline::read(scope, selection, self.recounting).await?;
        let window = match after {
            Some(cursor) => timeline.window_after(direction, cursor.accepted_at, limit),
            None => timeline.window(scope, direction, offset, limit).await?,
        };
        let Some(window) = window else { return Ok(vec![]) };
        let filter = Filter { from: window.from, to: window.to, ..selection.filter };
        let selection = Selection { filter, ..selection };
        let offset = window.offset;
        page::read(scope, PageQuery { selection, order, direction, after, limit, offset }).await
    }
}

/// Returns the destinations that have events, and that of the cursor, whose events may all have been removed
/// since.
async fn destinations(
    scope: &mut TenantScope,
    after: Option<&PageCursor>,
) -> Result<Vec<DestinationId>, sqlx::Error> {
    let mut ids = page::destinations(scope).await?;
    if let Some(PageCursor { key: Some(CursorKey::Id(id)), .. }) = after {
        ids.push(DestinationId(*id));
        ids.sort_unstable();
        ids.dedup();
    }
    Ok(ids)
}
