//! Proof of the history of a tenant.

pub(crate) mod log;
mod state;

pub(crate) use state::Audit;
