//! Authentication of requests to a destination, as facts carry it.

use serde::{Deserialize, Serialize};

use crate::sealed::Sealed;
use crate::stored_enum;

stored_enum! {
    /// How requests authenticate themselves to a destination.
    pub enum AuthType {
        /// A static value in a header of any name.
        ApiKey = 0 => "ApiKey",
        /// `Authorization: Bearer` with a static token.
        BearerToken = 1 => "BearerToken",
        /// `Authorization: Bearer` with a token that the client credentials grant issues.
        JwtBearer = 2 => "JwtBearer",
        /// `Authorization: Basic`.
        BasicAuth = 3 => "BasicAuth",
    }
}

/// Type of authentication and its encrypted credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundAuth {
    pub auth_type: AuthType,
    pub credentials: Sealed,
}

/// Change of the authentication of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthChange {
    #[default]
    Keep,
    Remove,
    Configure(OutboundAuth),
}
