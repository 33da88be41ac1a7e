//! Payloads as a sender sent them, to try a mapping on.

use uuid::Uuid;

use crate::api::events::Event;
use crate::api::senders::Sender;
use crate::session::Session;
use crate::text::json::indented;
use crate::text::times::Moment;

/// Latest events of the sender that are looked at.
const EVENTS_MAX: u32 = 10;
/// Characters of a payload in the list.
const EXCERPT_CHARS: usize = 60;
/// Payload of a form without an example.
const MADE_UP: &str =
    "{\n  \"id\": 7,\n  \"user\": { \"name\": \"octo\" },\n  \"items\": [ { \"sku\": \"A-1\" } ]\n}";

/// An event whose payload can be tried.
pub(super) struct Example {
    pub(super) id: Uuid,
    pub(super) excerpt: String,
    pub(super) accepted: Moment,
    pub(super) is_chosen: bool,
    payload: String,
}

/// Returns the latest events of a sender that were not mapped: their payloads are what was received. `chosen` is marked,
/// or the latest one.
pub(super) async fn of(session: &Session, sender: &Sender, chosen: Option<Uuid>) -> Vec<Example> {
    // The page is of use without examples, for instance when the payloads are too large.
    let events = session.api.events_of_sender(sender.id, EVENTS_MAX).await.unwrap_or_default();
    let mut examples = vec![];
    for event in events {
        if let Some(example) = example(session, event).await {
            examples.push(example);
        }
    }
    let at = examples.iter().position(|example| Some(example.id) == chosen).unwrap_or_default();
    if let Some(example) = examples.get_mut(at) {
        example.is_chosen = true;
    }
    examples
}

/// Returns the payload to begin with.
pub(super) fn payload(examples: &[Example]) -> String {
    let chosen = examples.iter().find(|example| example.is_chosen);
    chosen.map_or_else(
        || MADE_UP.to_owned(),
        |example| indented(&example.payload).unwrap_or_else(|| example.payload.clone()),
    )
}

async fn example(session: &Session, event: Event) -> Option<Example> {
    let payload = event.payload?;
    let is_received = session.api.acceptance(event.id).await.ok()?.mapping.is_none();
    is_received.then(|| Example {
        id: event.id,
        excerpt: payload.chars().take(EXCERPT_CHARS).collect(),
        accepted: Moment::of(event.accepted_at, crate::clock::now()),
        is_chosen: false,
        payload,
    })
}
