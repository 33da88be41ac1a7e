//! `/audit`: the audit trail, and the evidence that it is complete and unchanged.

mod checkpoint;
mod entry;
mod filter;
pub(crate) mod log;
pub(crate) mod trail;
