//! Search in the payloads of webhook events.
//!
//! There is no index of payloads: they are read, newest or oldest first, so many for a page that it is answered soon. A
//! page says how far it got, and the next one begins there.

use aggregates::ids::WebhookEventId;
use chrono::{DateTime, Utc};

use super::WebhookEvent;
use super::cursor::PageCursor;
use super::filter::{Filter, Selection, SortField};
use super::page::{self, Order, PageQuery, PageRow};
use crate::paging::Direction;
use crate::payloads;
use crate::tenant_scope::TenantScope;

/// Rows of events that are read together.
const ROWS: i64 = 500;
/// Bytes of payloads that are read together; a single payload may be larger.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// How much a page of a search may read. It ends with the event that reaches either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchBudget {
    pub events: i64,
    pub payload_bytes: u64,
}

/// A page of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub items: Vec<WebhookEvent>,
    /// Events whose payloads were examined for this page.
    pub examined: i64,
    /// Time of acceptance of the last one examined; `None`: there was none.
    pub through: Option<DateTime<Utc>>,
    /// Where the next page begins; `None`: all have been examined.
    pub next: Option<PageCursor>,
}

/// Event that is to be examined, and the size of its payload in bytes: 0 if it was erased.
type Candidate = (PageRow, u64);

/// Returns events of the scope's tenant, by time, that match `filter` and whose delivered payloads `matches` accepts: at
/// most `limit`, from `after` on.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.search", level = "debug", skip_all, err(level = "debug"))]
pub async fn search(
    scope: &mut TenantScope,
    filter: Filter,
    direction: Direction,
    limit: i64,
    after: Option<PageCursor>,
    budget: SearchBudget,
    matches: impl Fn(&str) -> bool,
) -> Result<Found, sqlx::Error> {
    let mut found = Found { items: vec![], examined: 0, through: None, next: after };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut bytes_left = budget.payload_bytes;
    loop {
        let rows = candidates(scope, filter, direction, found.next.as_ref()).await?;
        let is_last_page = i64::try_from(rows.len()).is_ok_and(|rows| rows < ROWS);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut piece = vec![];
            let mut bytes = 0;
            while let Some(candidate) = rows.next_if(|(_, size)| bytes == 0 || bytes + size <= PIECE_BYTES) {
                bytes += candidate.1;
                piece.push(candidate);
            }
            let ids: Vec<_> = piece.iter().map(|(row, _)| WebhookEventId(row.event.id)).collect();
            let payloads = payloads::delivered(scope, &ids).await?;
            for (row, size) in piece {
                let is_match =
                    payloads.get(&row.event.id.into()).is_some_and(|payload| matches(&payload.text));
                found.examined += 1;
                found.through = Some(row.event.accepted_at);
                found.next = Some(PageCursor::after(&row, SortField::AcceptedAt));
                bytes_left = bytes_left.saturating_sub(size);
                if is_match {
                    found.items.push(row.event.try_into()?);
                }
                if found.items.len() >= limit || found.examined >= budget.events || bytes_left == 0 {
                    return Ok(found);
                }
            }
        }
        if is_last_page {
            found.next = None;
            return Ok(found);
        }
    }
}

async fn candidates(
    scope: &mut TenantScope,
    filter: Filter,
    direction: Direction,
    after: Option<&PageCursor>,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let selection = Selection::from(filter);
    let query = PageQuery { selection, order: Order::ByTime, direction, after, limit: ROWS, offset: 0 };
    let rows = page::read(scope, query).await?;
    let ids: Vec<_> = rows.iter().map(|row| WebhookEventId(row.event.id)).collect();
    let sizes = payloads::sizes(scope, &ids).await?;
    let candidate = |row: PageRow| {
        let size = sizes.get(&row.event.id.into()).copied().unwrap_or(0);
        (row, size)
    };
    Ok(rows.into_iter().map(candidate).collect())
}
