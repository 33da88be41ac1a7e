//! The response body of a page of events with their payloads, in bounded memory.
//!
//! Two hundred payloads can be more than a process should hold for one caller. A page of small payloads is one
//! JSON body. A large page is streamed in pieces: the payloads of a piece are read when the caller has received
//! the pieces before.

use std::collections::{HashMap, VecDeque};
use std::io;

use aggregates::ids::{TenantId, WebhookEventId};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};

use crate::api::http::problem::Problem;
use crate::api::list_queries::ListQueries;
use crate::api::v1::events::erasure;
use crate::api::v1::events::view::{EventPage, EventView};

/// Bytes of payloads in one piece; a single payload may be larger.
const PIECE_BYTES_MAX: u64 = 8 << 20;

/// Returns the page with the payload of each event, or why it was erased, unless `shows_reasons` is `false`. `sizes` are
/// those of the payloads that are still stored.
pub(crate) async fn respond(
    lists: ListQueries,
    tenant_id: TenantId,
    page: EventPage,
    shows_reasons: bool,
    sizes: &HashMap<WebhookEventId, u64>,
) -> Result<Response, Problem> {
    let EventPage { head, items: events } = page;
    let mut pieces = pieces(events, sizes);
    let first = pieces.pop_front().unwrap_or_default();
    let first = with_payloads(&lists, tenant_id, first, shows_reasons).await?;
    if pieces.is_empty() {
        return Ok(Json(EventPage { head, items: first }).into_response());
    }
    let head = serde_json::to_string(&head)?;
    let head = format!("{},\"items\":[{}", head.strip_suffix('}').unwrap_or_default(), items(&first)?);
    let head = stream::once(async { Ok(Bytes::from(head)) });
    let body = Body::from_stream(StreamExt::chain(head, rest(lists, tenant_id, pieces, shows_reasons)));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Returns the body after its first piece. A failure aborts the response, because its status is sent already.
fn rest(
    lists: ListQueries,
    tenant_id: TenantId,
    pieces: VecDeque<Vec<EventView>>,
    shows_reasons: bool,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(pieces), move |pieces| {
        let lists = lists.clone();
        async move {
            let mut pieces = pieces?;
            let Some(piece) = pieces.pop_front() else { return Some((Ok(Bytes::from_static(b"]}")), None)) };
            let read = with_payloads(&lists, tenant_id, piece, shows_reasons).await;
            match read.and_then(|events| Ok(items(&events)?)) {
                Ok(items) => Some((Ok(Bytes::from(format!(",{items}"))), Some(pieces))),
                Err(problem) => Some((Err(io::Error::other(format!("{problem:?}"))), None)),
            }
        }
    })
}

/// Divides events into pieces of at most [`PIECE_BYTES_MAX`] of payloads.
fn pieces(events: Vec<EventView>, sizes: &HashMap<WebhookEventId, u64>) -> VecDeque<Vec<EventView>> {
    let mut pieces = VecDeque::from([vec![]]);
    let mut bytes = 0_u64;
    for event in events {
        let size = sizes.get(&WebhookEventId(event.id)).copied().unwrap_or_default();
        bytes = bytes.saturating_add(size);
        if bytes > PIECE_BYTES_MAX && bytes > size {
            pieces.push_back(vec![]);
            bytes = size;
        }
        if let Some(piece) = pieces.back_mut() {
            piece.push(event);
        }
    }
    pieces
}

async fn with_payloads(
    lists: &ListQueries,
    tenant_id: TenantId,
    mut events: Vec<EventView>,
    shows_reasons: bool,
) -> Result<Vec<EventView>, Problem> {
    if events.is_empty() {
        return Ok(events);
    }
    let mut scope = lists.begin(tenant_id).await?;
    erasure::add_payloads(&mut scope, &mut events, shows_reasons).await?;
    scope.end().await?;
    Ok(events)
}

/// Returns the events as JSON, separated by commas.
fn items(events: &[EventView]) -> Result<String, serde_json::Error> {
    let events: Result<Vec<_>, _> = events.iter().map(serde_json::to_string).collect();
    Ok(events?.join(","))
}
