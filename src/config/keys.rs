//! Keys of the operator.

use crate::secrets::master_keys::MasterKeys;
use crate::secrets::signing_keys::SigningKeys;

/// Keys that sign access tokens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keys")]
pub struct SigningSettings {
    /// Keys that sign access tokens: NAME:KEY or KEY, separated by commas.
    ///
    /// Required by the role api. The first key signs; all keys verify. A key has at least 32 bytes, in base64
    /// or as text, and must be random, or tokens can be forged: `openssl rand -base64 32` generates one.
    /// Every process with the role api needs the same keys.
    #[arg(long, env = "HOOKSENTRY_JWT_KEY", value_name = "KEYS", hide_env_values = true)]
    pub jwt_key: Option<SigningKeys>,
}

/// Keys that encrypt the secrets of tenants.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keys")]
pub struct EncryptionSettings {
    /// Keys that encrypt the secrets of tenants, separated by commas.
    ///
    /// Required by the roles api, worker and sealer. The first key encrypts; all keys decrypt. A key is the base64
    /// of exactly 32 bytes: `openssl rand -base64 32` generates one. Keep a copy in a safe place: without it the
    /// credentials and webhook secrets of all tenants are lost. To replace a key, put the new one first, run
    /// `hooksentry rewrap-keys`, and remove the old one. Every process with these roles needs the same keys.
    #[arg(long, env = "HOOKSENTRY_ENCRYPTION_KEY", value_name = "KEYS", hide_env_values = true)]
    pub encryption_key: Option<MasterKeys>,
}
