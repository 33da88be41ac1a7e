//! `/events`: the events of the tenant.

pub(crate) mod actions;
mod facets;
mod filter;
pub(crate) mod list;
pub(crate) mod one;
mod preview;
mod reproduce;
mod sentence;
mod timeline;
