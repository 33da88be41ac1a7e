//! Secrets: what is handed out, what is kept instead of it, and what may be opened again.
//!
//! A token that need only be recognised is kept as its hash ([`token`]). A secret that must be used or
//! shown again is sealed ([`vault`]) under a data key of its tenant, and data keys are wrapped under the
//! operator's master keys ([`master_keys`], [`rewrap`]). A password is kept as an Argon2id hash
//! ([`passwords`]). Access tokens are signed and not kept at all ([`signing_keys`]).

mod cipher;
mod data_keys;
pub mod master_keys;
pub mod passwords;
pub mod rewrap;
pub mod signing_keys;
pub mod token;
pub mod vault;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

pub use data_keys::KeysUnder;

/// Decodes base64 in either alphabet, with or without padding: the tools that make keys differ.
fn base64_of_any_dialect(text: &str) -> Option<Vec<u8>> {
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok())
}
