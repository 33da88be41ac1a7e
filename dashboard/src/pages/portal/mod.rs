//! `/portal`: the events of one destination, for a customer who has a portal link to it.

pub(crate) mod enter;
pub(crate) mod events;
