//! `/events`: the events of the tenant.

pub(crate) mod actions;
pub(crate) mod erase;
mod facets;
pub(super) mod filter;
pub(crate) mod list;
pub(crate) mod one;
mod past;
mod preview;
pub(crate) mod proof;
mod reproduce;
mod sentence;
mod timeline;

use crate::api::events::Event;
use crate::words;

/// Says how the last attempt failed; `None`: it did not, or none has ended.
pub(super) fn failure(event: &Event) -> Option<String> {
    let words = words::outcome(event.last_outcome.as_deref()?).filter(|words| !words.is_success)?;
    Some(match event.last_http_status {
        Some(status) => format!("{} {status}", words.label),
        None => words.label.to_owned(),
    })
}
