//! The audit trail of a tenant: who did what, to which subject, when, and what it changed.
//!
//! It is the event log itself, read in its order, and not a read model: so it has every fact and cannot differ from what
//! the transparency log commits to. Facts divide into those of the delivery of single webhooks, of which there are
//! thousands for each other fact, and all others ([`catalogue`]). Partial indexes on the others make them searchable at a
//! size that hardly grows with traffic. The facts of deliveries are read by their stream, or by a walk along the log.
//!
//! What is shown of a fact is named in the catalogue, field by field. So a secret, a hash or personal data cannot appear in
//! the trail because a fact got a new field.

mod bounds;
pub mod catalogue;
mod entry;
mod search;

pub(crate) use bounds::{bounds, settled};
pub(crate) use entry::{Change, Entry};
pub(crate) use search::{Selection, StreamName, TrailFilter, search};
