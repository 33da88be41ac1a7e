//! The operator's keys.

use crate::secrets::master_keys::MasterKeys;
use crate::secrets::signing_keys::SigningKeys;

/// What access tokens are signed with.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keys")]
pub struct SigningSettings {
    /// One or several keys that sign access tokens: `name:key` or `key`, separated by commas.
    ///
    /// The first signs; all verify. A key has at least 32 bytes, given in base64 or as text. Too little
    /// chance in it and everybody can forge tokens: make it with `openssl rand -base64 32`. Every API
    /// process needs the same keys.
    #[arg(long, env = "HOOKSENTRY_JWT_KEY", value_name = "KEYS", hide_env_values = true)]
    pub jwt_key: Option<SigningKeys>,
}

/// What secrets are encrypted with.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Keys")]
pub struct EncryptionSettings {
    /// One or several keys under which the secrets of tenants are encrypted, separated by commas.
    ///
    /// The first encrypts; all decrypt. Each is the base64 of exactly 32 bytes (`openssl rand -base64
    /// 32`). Whoever loses it loses the credentials and webhook secrets of all tenants. To replace it, put
    /// the new key in front, run `hooksentry rewrap-keys`, and remove the old one. All API and worker
    /// processes need the same keys.
    #[arg(long, env = "HOOKSENTRY_ENCRYPTION_KEY", value_name = "KEYS", hide_env_values = true)]
    pub encryption_key: Option<MasterKeys>,
}
