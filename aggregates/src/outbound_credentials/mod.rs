//! Credentials with which requests authenticate themselves to a destination.
//!
//! The values are checked once, when they are configured; checked values can be sent. Secrets are wrapped, so that
//! neither `Debug` nor serde can print them. The only way to get them out is [`OutboundCredentials::to_plaintext`],
//! whose result is to be encrypted at once.

mod fields;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use self::fields::Fields;
pub use self::fields::{CredentialsProblem, FieldProblem};
use crate::destination::AuthType;
use crate::destination_url::DestinationUrl;
use crate::target_rules::TargetRules;

/// Checked credentials.
#[derive(Clone, Debug)]
pub enum OutboundCredentials {
    /// See [`AuthType::ApiKey`].
    ApiKey { header_name: String, value: SecretString },
    /// See [`AuthType::BearerToken`].
    BearerToken {
        /// Without the word `Bearer`.
        token: SecretString,
    },
    /// See [`AuthType::JwtBearer`].
    JwtBearer(TokenRequest),
    /// See [`AuthType::BasicAuth`].
    BasicAuth { username: String, password: SecretString },
}

/// Parameters of the client credentials grant (RFC 6749, section 4.4).
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Subject to the same address rules as a destination.
    pub token_endpoint: DestinationUrl,
    pub client_id: String,
    pub client_secret: SecretString,
    /// `None`: the scope is left to the endpoint.
    pub scope: Option<String>,
}

impl OutboundCredentials {
    /// Checks the `credentials` object of a request.
    ///
    /// # Errors
    ///
    /// All problems of its fields.
    pub fn parse(
        auth_type: AuthType,
        credentials: &Value,
        rules: &TargetRules,
    ) -> Result<Self, Vec<CredentialsProblem>> {
        Self::parse_by(auth_type, credentials, Some(rules))
    }

    /// `rules` are `None` for credentials that were checked when they were entered.
    fn parse_by(
        auth_type: AuthType,
        credentials: &Value,
        rules: Option<&TargetRules>,
    ) -> Result<Self, Vec<CredentialsProblem>> {
        let Value::Object(object) = credentials else {
            return Err(vec![CredentialsProblem {
                field: "credentials",
                problem: FieldProblem::NotAnObject,
            }]);
        };
        let mut fields = Fields::of(object);
        let parsed = match auth_type {
            AuthType::ApiKey => Self::ApiKey {
                header_name: fields.header_name(),
                value: fields.header_value("credentials.value", 2048).into(),
            },
            AuthType::BearerToken => {
                Self::BearerToken { token: fields.header_value("credentials.token", 4096).into() }
            }
            AuthType::JwtBearer => {
                let token_endpoint = fields.url("credentials.tokenEndpoint", rules);
                let client_id = fields.required("credentials.clientId", 512);
                let client_secret = fields.required("credentials.clientSecret", 512).into();
                let scope = fields.optional("credentials.scope", 512);
                let Some(token_endpoint) = token_endpoint else { return Err(fields.problems) };
                Self::JwtBearer(TokenRequest { token_endpoint, client_id, client_secret, scope })
            }
            AuthType::BasicAuth => Self::BasicAuth {
                username: fields.username(),
                password: fields.required("credentials.password", 512).into(),
            },
        };
        if fields.problems.is_empty() { Ok(parsed) } else { Err(fields.problems) }
    }

    pub fn auth_type(&self) -> AuthType {
        match self {
            Self::ApiKey { .. } => AuthType::ApiKey,
            Self::BearerToken { .. } => AuthType::BearerToken,
            Self::JwtBearer(_) => AuthType::JwtBearer,
            Self::BasicAuth { .. } => AuthType::BasicAuth,
        }
    }

    /// Returns everything, including secrets, as JSON. It must be encrypted before it is stored, and never logged.
    pub fn to_plaintext(&self) -> SecretString {
        let mut object = match self {
            Self::ApiKey { header_name, value } => {
                json!({ "headerName": header_name, "value": value.expose_secret() })
            }
            Self::BearerToken { token } => json!({ "token": token.expose_secret() }),
            Self::JwtBearer(request) => json!({
                "tokenEndpoint": request.token_endpoint,
                "clientId": request.client_id,
                "clientSecret": request.client_secret.expose_secret(),
                "scope": request.scope,
            }),
            Self::BasicAuth { username, password } => {
                json!({ "username": username, "password": password.expose_secret() })
            }
        };
        object["authType"] = self.auth_type().name().into();
        object.to_string().into()
    }

    /// Reads the result of [`OutboundCredentials::to_plaintext`].
    ///
    /// # Errors
    ///
    /// If it is not that result; the problems of its fields.
    pub fn from_plaintext(plaintext: &SecretString) -> Result<Self, Vec<CredentialsProblem>> {
        let problem = |field, problem| vec![CredentialsProblem { field, problem }];
        let stored: Value = serde_json::from_str(plaintext.expose_secret())
            .map_err(|_| problem("credentials", FieldProblem::NotAnObject))?;
        let auth_type = stored["authType"].as_str().and_then(AuthType::from_name);
        let auth_type = auth_type.ok_or_else(|| problem("authType", FieldProblem::UnknownAuthType))?;
        Self::parse_by(auth_type, &stored, None)
    }
}

/// Whether the delivery, HTTP itself or a proxy on the way sets this header, so that credentials must not.
pub fn is_reserved_header(name: &str) -> bool {
    const RESERVED: [&str; 24] = [
        "accept-encoding",
        "cdn-loop",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ];
    let name = name.to_ascii_lowercase();
    RESERVED.contains(&name.as_str())
        || ["x-forwarded-", "x-hooksentry-"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(auth_type: AuthType, credentials: Value) -> Result<OutboundCredentials, Vec<String>> {
        OutboundCredentials::parse(auth_type, &credentials, &TargetRules::default())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn problems(auth_type: AuthType, credentials: Value) -> Vec<String> {
        parse(auth_type, credentials).expect_err("accepted")
    }

    fn complete() -> [(AuthType, Value); 4] {
        [
            (AuthType::ApiKey, json!({"headerName": "X-Api_Key", "value": "s3cret"})),
            (AuthType::BearerToken, json!({"token": "s3cret"})),
            (
                AuthType::JwtBearer,
                json!({"tokenEndpoint": "https://id.example/token", "clientId": "we", "clientSecret": "s3cret",
                       "scope": "hooks"}),
            ),
            (AuthType::BasicAuth, json!({"username": "we", "password": "s3cret: with ümläut"})),
        ]
    }

    #[test]
    fn each_type_is_read_back_from_its_plaintext() {
        for (auth_type, credentials) in complete() {
            let parsed = parse(auth_type, credentials.clone()).unwrap();
            assert_eq!(parsed.auth_type(), auth_type);
            let plaintext = parsed.to_plaintext();
            let mut stored: Value = serde_json::from_str(plaintext.expose_secret()).unwrap();
            let read_back = OutboundCredentials::from_plaintext(&plaintext).unwrap();
            assert_eq!(read_back.to_plaintext().expose_secret(), plaintext.expose_secret());
            assert_eq!(stored.as_object_mut().unwrap().remove("authType"), Some(auth_type.name().into()));
            assert_eq!(stored, credentials);
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        for (auth_type, credentials) in complete() {
            let parsed = parse(auth_type, credentials).unwrap();
            assert!(!format!("{parsed:?} {:?}", parsed.to_plaintext()).contains("s3cret"));
        }
    }

    #[test]
    fn every_missing_field_is_named() {
        assert_eq!(
            problems(AuthType::ApiKey, json!({"value": null})),
            ["credentials.headerName is required", "credentials.value is required"]
        );
        assert_eq!(
            problems(AuthType::BearerToken, json!({"token": "  "})),
            ["credentials.token is required"]
        );
        assert_eq!(
            problems(AuthType::JwtBearer, json!({})),
            [
                "credentials.tokenEndpoint is required",
                "credentials.clientId is required",
                "credentials.clientSecret is required"
            ]
        );
        assert_eq!(
            problems(AuthType::BasicAuth, json!({})),
            ["credentials.username is required", "credentials.password is required"]
        );
        for not_an_object in [json!(null), json!("token"), json!(["token"])] {
            assert_eq!(problems(AuthType::BearerToken, not_an_object), ["credentials must be an object"]);
        }
    }

    #[test]
    fn values_that_cannot_be_sent_are_refused() {
        let header = |name: &str, value: Value| json!({"headerName": name, "value": value});
        for (auth_type, credentials, expected) in [
            (AuthType::ApiKey, header("X-Key", json!(5)), "credentials.value must be a string"),
            (
                AuthType::ApiKey,
                header("X-Key", json!("a\u{1}")),
                "credentials.value must not contain control characters",
            ),
            (
                AuthType::ApiKey,
                header("X Key", json!("a")),
                "credentials.headerName may only contain letters, digits, hyphens and underscores",
            ),
            (
                AuthType::ApiKey,
                header("X-HOOKSENTRY-Signature", json!("a")),
                "credentials.headerName must not be a header that the delivery itself sets",
            ),
            (
                AuthType::ApiKey,
                header(&"a".repeat(101), json!("a")),
                "credentials.headerName must be at most 100 characters",
            ),
            (
                AuthType::ApiKey,
                header("X-Key", json!("a".repeat(2049))),
                "credentials.value must be at most 2048 characters",
            ),
            (
                AuthType::BearerToken,
                json!({"token": "a\r\nX-Evil: 1"}),
                "credentials.token must not contain control characters",
            ),
            (
                AuthType::BasicAuth,
                json!({"username": "a:b", "password": "c"}),
                "credentials.username must not contain a colon",
            ),
            (
                AuthType::JwtBearer,
                json!({"tokenEndpoint": "http://a.b", "clientId": "a", "clientSecret": "b"}),
                "credentials.tokenEndpoint must be an absolute https URL, such as https://example.com/webhooks",
            ),
            (
                AuthType::JwtBearer,
                json!({"tokenEndpoint": "https://a.b", "clientId": "a", "clientSecret": "b", "scope": ["c"]}),
                "credentials.scope must be a string",
            ),
        ] {
            assert_eq!(problems(auth_type, credentials.clone()), [expected], "{credentials}");
        }
    }

    #[test]
    fn field_names_are_read_in_any_case() {
        parse(AuthType::BearerToken, json!({"TOKEN": "a", "unknown": 1})).unwrap();
    }

    #[test]
    fn headers_of_the_delivery_are_reserved() {
        for name in [
            "Host",
            "CONTENT-TYPE",
            "Transfer-Encoding",
            "X-HookSentry-Anything",
            "webhook-id",
            "CDN-Loop",
            "X-Forwarded-For",
            "Proxy-Authorization",
        ] {
            assert!(is_reserved_header(name), "{name}");
        }
        for name in ["Authorization", "X-Api-Key", "Cookie", "X-Hook"] {
            assert!(!is_reserved_header(name), "{name}");
        }
    }
}
