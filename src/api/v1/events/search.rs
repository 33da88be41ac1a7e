//! Search in the payloads of the list of events: its parameters and its limits.

use std::borrow::Cow;

use aggregates::payload_search::{PayloadSearch, ValueCondition};
use chrono::{DateTime, TimeDelta, Utc};
use projections::TenantScope;
use projections::webhook_events::{self, Filter, PageCursor, SearchBudget, SortField};
use utoipa::IntoParams;

use crate::api::http::problem::Problem;
use crate::api::http::query::{Paging, Query};
use crate::api::v1::events::view::SearchProgress;
use crate::clock;

/// Characters of a text that is searched for.
const TEXT_CHARS_MAX: usize = 200;
/// Characters of a path.
const PATH_CHARS_MAX: usize = 500;
/// Days before the end of the time range that are searched unless `From` is given.
const DAYS_DEFAULT: i64 = 7;
/// What is read for one page, which takes about a second.
const BUDGET: SearchBudget = SearchBudget { events: 10_000, payload_bytes: 32 << 20 };

/// Parameters of a search in payloads. It examines the payloads one by one, so a page ends after 10,000 events or 32 MiB of
/// payloads although more may match: `search` says how far it got, and `next` continues.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters; `Query` reads them")]
pub(crate) struct SearchParameters {
    /// Only events whose delivered payload contains this text, exactly as it was sent and in the same case. The
    /// list must be sorted by `acceptedAt`. Without `From` the last 7 days are searched.
    #[param(rename = "PayloadContains", min_length = 1, max_length = 200)]
    payload_contains: Option<String>,
    /// Only events whose delivered payload has a value at this path, written as in mappings: `user:name`, `items[0]:sku`.
    /// The same limits.
    #[param(rename = "PayloadPath", min_length = 1, max_length = 500)]
    payload_path: Option<String>,
    /// With `PayloadPath`: only where the value is this string, number, `true`, `false` or `null`.
    #[param(rename = "PayloadValue", max_length = 200)]
    payload_value: Option<String>,
}

/// A search, checked.
#[derive(Debug, Default)]
pub(super) struct Search {
    conditions: PayloadSearch,
    /// Beginning of the time range.
    from: DateTime<Utc>,
    /// The same for the same conditions, as a cursor is bound to them.
    pub(super) terms: String,
}

impl Search {
    /// Reads the parameters of a search, if there are any.
    pub(super) fn read(query: &mut Query, paging: Paging<SortField>, filter: Filter) -> Self {
        let contains = query.optional("PayloadContains", text);
        let equals = query.optional("PayloadValue", |text| chars(text, 0, TEXT_CHARS_MAX));
        let path = query.optional("PayloadPath", |text| chars(text, 1, PATH_CHARS_MAX));
        let value = match &path {
            Some(path) => query.optional("PayloadPath", |_| {
                ValueCondition::parse(path, equals.clone()).map_err(|problem| problem.to_string().into())
            }),
            None => None,
        };
        if path.is_none() && !query.mentions("PayloadPath") {
            query.forbid("PayloadValue", "needs PayloadPath");
        }
        let terms = match (&contains, &path) {
            (None, None) => String::new(),
            _ => format!("search={contains:?} {path:?} {equals:?} "),
        };
        let conditions = PayloadSearch { contains, value };
        if !conditions.is_empty() {
            query.forbid("Pg", "must not be given in a search of payloads; After continues it");
            if paging.sort != SortField::AcceptedAt {
                query.forbid("CpOrd", "must be acceptedAt in a search of payloads");
            }
        }
        let end = filter.to.unwrap_or_else(clock::now);
        let from = filter.from.unwrap_or_else(|| end - TimeDelta::days(DAYS_DEFAULT));
        Self { conditions, from, terms }
    }

    /// Returns whether payloads are searched.
    pub(super) fn is_requested(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Searches for a page.
    pub(super) async fn run(
        &self,
        scope: &mut TenantScope,
        filter: Filter,
        paging: Paging<SortField>,
        after: Option<PageCursor>,
    ) -> Result<(webhook_events::Listing, SearchProgress), Problem> {
        let filter = Filter { from: Some(self.from), ..filter };
        let is_first = after.is_none();
        let matches = |payload: &str| self.conditions.accepts(payload);
        let (limit, direction) = (paging.page.limit, paging.direction);
        let found = webhook_events::search(scope, filter, direction, limit, after, BUDGET, matches).await?;
        let is_complete = found.next.is_none();
        let progress = SearchProgress {
            examined: found.examined,
            through: found.through.map(Into::into),
            from: self.from.into(),
            is_complete,
        };
        let listing = webhook_events::Listing {
            total: i64::try_from(found.items.len()).unwrap_or(i64::MAX),
            has_more_than_total: !(is_first && is_complete),
            items: found.items,
            next: found.next,
        };
        Ok((listing, progress))
    }
}

fn text(text: &str) -> Result<String, Cow<'static, str>> {
    chars(text, 1, TEXT_CHARS_MAX)
}

fn chars(text: &str, min: usize, max: usize) -> Result<String, Cow<'static, str>> {
    let chars = text.chars().count();
    if (min..=max).contains(&chars) {
        return Ok(text.to_owned());
    }
    Err(format!("must have from {min} to {max} characters").into())
}
