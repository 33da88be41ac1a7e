//! The read side: facts folded into rows, and the queries on those rows.
//!
//! Each read model is one module: its rows, how facts change them, and the queries on them. The migration
//! that creates its table has the same name. A read model can be rebuilt from the log at any time.
//!
//! To add a read model, write its module and its migration and add a line to the registry in
//! `projection.rs`. With one row for each stream, as `api_keys.rs` has, `read_model!` does the rest.

mod big_int;
mod columns;
mod fold;
mod non_appending;
mod projection;
mod read_model;
mod tenant_scope;

pub mod accepted_bytes;
pub mod api_keys;
pub mod delivery_attempts;
pub mod delivery_statistics;
pub mod destinations;
pub mod ingest_routes;
pub mod invites;
pub mod portal_links;
pub mod senders;
pub mod sessions;
pub mod tenants;
pub mod users;
pub mod webhook_events;

pub mod attempt_responses;
pub mod bulk_actions;
pub mod checkpoints;
pub mod delivery_settings;
pub mod erasures;
pub mod fact_origins;
pub mod legal_holds;
pub mod listing;
pub mod logged_fact;
pub mod paging;
pub mod payloads;
pub mod personal_data;
pub mod quarantine;
pub mod retention;
pub mod tenant_usage;
pub mod user_emails;

pub use big_int::BigInt;
pub use fold::{ApplyFailure, NotFolded, SequenceGap};
pub use logged_fact::{LogPosition, LogRow, LoggedFact, TransactionId, UnreadableRow};
pub use non_appending::{NON_APPENDING, mark_non_appending};
pub use projection::Projection;
pub use tenant_scope::TenantScope;
