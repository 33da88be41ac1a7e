//! The handlers. A handler's path in this folder is its path under `/api/v1`.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod bulk_actions;
pub(crate) mod destinations;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod ingest;
pub(crate) mod invites;
mod legal_holds;
pub(crate) mod portal_links;
pub(crate) mod queues;
pub(crate) mod second_factor;
pub(crate) mod senders;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod tenants;
pub(crate) mod users;
