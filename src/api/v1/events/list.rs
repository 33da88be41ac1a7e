//! `GET /api/v1/events`

use aggregates::access::Accessed;
use axum::extract::State;
use axum::response::Response;
use projections::webhook_events::PageStart;
use projections::{payloads, webhook_events};

use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::http::cursor::List;
use crate::api::http::filter::{FilterParameters, cursor_terms};
use crate::api::http::problem::Problem;
use crate::api::http::query::{Paging, Query};
use crate::api::v1::events::page_body;
use crate::api::v1::events::search::{Search, SearchParameters};
use crate::api::v1::events::state::Events;
use crate::api::v1::events::view::{EventPage, EventView, PageHead};

/// List events
///
/// A page is requested by its number (`Pg`) or by the cursor `next` of the page before (`After`). A cursor is
/// fast however long the list is, and neither repeats nor misses an event when others are added meanwhile.
/// `acceptedAt` and then `id` break ties, in the same direction.
#[utoipa::path(get, path = "/api/v1/events", tag = "Events",
    params(
        FilterParameters<webhook_events::Filter>,
        SearchParameters,
        ("After" = Option<String>, Query, min_length = 44, max_length = 8192, pattern = r"^[A-Za-z0-9_-]+$",
            description = "Cursor of the page: `next` of the page before, with the same filters and order. Not together with `Pg`."),
    ),
    responses((status = 200, body = EventPage, description = "A page of the tenant's events."), (status = 400)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    mut query: Query,
) -> Result<Response, Problem> {
    let paging: Paging<webhook_events::SortField> = query.paging();
    let (tenant_id, filter) = events.filter(&principal, &mut query).await?;
    let search = Search::read(&mut query, paging, filter);
    let order = (paging.sort.name(), paging.direction);
    let terms = format!("{}{}{} {:?}", cursor_terms(filter), search.terms, order.0, order.1);
    let list = List { name: "events", tenant_id, terms: &terms };
    let behind = query.after(|cursor| events.cursors.read(list, cursor));
    query.complete()?;

    let lists = events.commands.lists();
    let mut scope = lists.begin(tenant_id).await?;
    let (listing, progress) = if search.is_requested() {
        let (listing, progress) = search.run(&mut scope, filter, paging, behind).await?;
        (listing, Some(progress))
    } else {
        let start = behind.map_or(PageStart::Offset(paging.page.offset), PageStart::After);
        let Paging { page, sort, direction } = paging;
        let listing = webhook_events::list(&mut scope, filter, sort, direction, page.limit, start).await?;
        (listing, None)
    };
    let ids: Vec<_> = listing.items.iter().map(|event| event.id).collect();
    let sizes = payloads::sizes(&mut scope, &ids).await?;
    scope.end().await?;
    // What a search found says something about payloads even if it found nothing.
    if !sizes.is_empty() || search.is_requested() {
        let accessed = Accessed::Payloads { destination_id: filter.destination_id };
        events.accesses.record_of_tenant(&principal, accessed).await?;
    }
    let next = listing.next.map(|cursor| events.cursors.issue(list, &cursor)).transpose()?;
    let head = PageHead {
        total: listing.total,
        total_is_lower_bound: listing.has_more_than_total,
        next,
        search: progress,
    };
    let items = listing.items.into_iter().map(EventView::from).collect();
    let page = EventPage { head, items };
    let shows_reasons = principal.scope().shows_internals();
    page_body::respond(lists.clone(), tenant_id, page, shows_reasons, &sizes).await
}
