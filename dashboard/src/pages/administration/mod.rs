//! Administration of the tenant: users, API keys, signatures, settings.

pub(crate) mod api_keys;
pub(crate) mod invites;
pub(crate) mod portal_links;
mod shown_once;
pub(crate) mod signing;
pub(crate) mod tenant;
pub(crate) mod user;
pub(crate) mod users;
