//! Webhook events: list, get, replay, cancel, erase, and what happened to one.

pub(crate) mod attempt_configuration;
pub(crate) mod attempts;
pub(crate) mod cancel;
pub(crate) mod erase;
mod erasure;
pub(crate) mod facets;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod list;
mod page_body;
pub(crate) mod proof;
pub(crate) mod replay;
mod search;
mod state;
pub(crate) mod streams;
mod view;

pub(crate) use state::Events;
