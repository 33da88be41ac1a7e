//! What everybody may know of the transparency logs: the public keys, and the log of the installation without its entries.
//!
//! The entries say when which log was signed, so each is shown to its tenant only. The hashes say how many
//! there are.

pub(crate) mod keys;
pub(crate) mod log;

use sqlx::PgPool;

/// Dependencies of the handlers.
#[derive(Clone, Debug)]
pub(crate) struct WellKnown {
    pub(crate) pool: PgPool,
}
