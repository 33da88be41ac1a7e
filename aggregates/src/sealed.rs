//! Forms in which facts carry secrets: hashed if they only have to be recognised, encrypted ("sealed") if they have to
//! be used again. Neither form reveals the secret.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Secret encrypted with AES-256-GCM under a data key.
///
/// Data keys are stored in their own table, encrypted ("wrapped") under the operator's master key. Replacing the
/// master key re-encrypts that table; facts do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Id of the data key.
    pub data_key: Uuid,
    /// Base64 of nonce (12 bytes), ciphertext and authentication tag (16 bytes).
    pub ciphertext: String,
}

/// SHA-256 of a token, including its prefix, in lower-case hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(pub String);

/// First 16 hex characters of the SHA-256 of a secret: enough to distinguish secrets in a history, but far too
/// few to find one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);
