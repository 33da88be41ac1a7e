//! Tokens, passwords and encrypted secrets.
//!
//! A token that only has to be recognised is stored as a hash ([`token`]). A secret that has to be used or
//! shown again is sealed ([`vault`]) with a data key of its tenant, and data keys are wrapped with the
//! operator's master keys ([`master_keys`], [`rewrap`]). A password is stored as an Argon2id hash
//! ([`passwords`]), a recovery code as a plain hash ([`recovery_codes`]), and the secret of an authenticator app is sealed
//! ([`totp`]). Access tokens and invitations to register a tenant are signed and not stored ([`signing_keys`],
//! [`tenant_invitations`]). Heads of the transparency logs are signed with [`log_keys`].

mod base32;
mod cipher;
mod common_passwords;
mod data_keys;
mod event_ids;
pub mod log_keys;
pub mod master_keys;
mod password_queue;
pub mod passwords;
pub mod recovery_codes;
pub mod rewrap;
pub mod salt;
pub mod signing_keys;
pub mod tenant_invitations;
pub mod token;
pub mod totp;
pub mod vault;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

pub use data_keys::KeysUnder;

/// Decodes base64 in either alphabet, with or without padding: tools that generate keys differ.
fn decode_any_base64(text: &str) -> Option<Vec<u8>> {
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok())
}
