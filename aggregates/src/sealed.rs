//! Secrets as facts carry them: hashed when they need only be recognised, sealed when they must be
//! used again. Neither form reveals the secret.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A secret under AES-256-GCM.
///
/// The key that sealed it is a data key, kept wrapped under the operator's master key in a table of
/// its own. Retiring a master key re-wraps those rows; the facts stay as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Which data key opens it.
    pub data_key: Uuid,
    /// Base64 of nonce (12 bytes), ciphertext and tag (16 bytes).
    pub ciphertext: String,
}

/// SHA-256 of a token, prefix included, in lower-case hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(pub String);

/// The first 16 hex characters of a secret's SHA-256: enough to tell secrets apart in a history, far
/// too little to find one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);
