//! The audit trail of a tenant, and the proof of its history.

mod csv;
mod entry;
pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod log;
mod parameters;
mod state;

pub(crate) use state::Audit;
