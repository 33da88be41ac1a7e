//! HTTP infrastructure of the handlers: reading requests, problems, paging, rate limits.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod client_address;
pub(crate) mod created;
pub(crate) mod cursor;
pub(crate) mod fields;
pub(crate) mod filter;
pub(crate) mod late_refusals;
pub(crate) mod layers;
pub(crate) mod path;
pub mod problem;
pub(crate) mod query;
pub(crate) mod rate_limits;
pub(crate) mod request_context;
pub(crate) mod time;
