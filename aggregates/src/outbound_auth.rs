//! How requests prove themselves to a destination: the kind of credentials, and the credentials, sealed.

use serde::{Deserialize, Serialize};

use crate::sealed::Sealed;

/// How a request proves itself to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AuthType {
    /// A header of the receiver's choice.
    ApiKey,
    /// `Authorization: Bearer` with a fixed token.
    BearerToken,
    /// `Authorization: Bearer` with a token fetched by client credentials.
    JwtBearer,
    /// `Authorization: Basic`.
    BasicAuth,
}

impl AuthType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::ApiKey, Self::BearerToken, Self::JwtBearer, Self::BasicAuth];

    /// The type's name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "ApiKey",
            Self::BearerToken => "BearerToken",
            Self::JwtBearer => "JwtBearer",
            Self::BasicAuth => "BasicAuth",
        }
    }

    /// The type of a name in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|auth| auth.name().eq_ignore_ascii_case(name))
    }
}

/// Credentials, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundAuth {
    pub auth_type: AuthType,
    pub credentials: Sealed,
}

/// What becomes of the credentials when a destination is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthChange {
    /// They stay.
    #[default]
    Keep,
    /// They go.
    Remove,
    /// They are replaced.
    Configure(OutboundAuth),
}
