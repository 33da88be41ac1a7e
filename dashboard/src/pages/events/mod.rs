//! `/events`: the events of the tenant.

pub(crate) mod actions;
pub(crate) mod list;
pub(crate) mod one;
mod sentence;
mod timeline;
