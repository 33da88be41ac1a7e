//! What is sent to register or change a destination.

use aggregates::destination::{AuthType, CONCURRENCY_LIMIT_DEFAULT};
use aggregates::destination_url::{DestinationUrl, Insecure};
use aggregates::outbound_credentials::OutboundCredentials;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::http::body::{Fields, UnreadBody};
use crate::api::http::problem::Problem;
use crate::api::http::validation;
use crate::api::openapi::schemas::{DestinationStatusGiven, DestinationUrlText, PositiveNumber};

/// A destination that is wanted.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewDestination {
    #[schema(value_type = DestinationUrlText)]
    pub(crate) url: DestinationUrl,
    /// Most concurrent requests; 5 if absent.
    #[schema(value_type = Option<PositiveNumber>)]
    pub(crate) server_rate_limit: u32,
    /// `ApiKey`, `BearerToken`, `JwtBearer` or `BasicAuth`, in any case.
    #[schema(value_type = Value)]
    #[expect(dead_code, reason = "it describes the body; the credentials know their type")]
    auth_type: Option<AuthType>,
    /// With `authType`, and never without it: what the type needs.
    #[schema(value_type = Value)]
    pub(crate) credentials: Option<OutboundCredentials>,
}

/// What is to change of a destination, all or nothing; what is absent stays.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DestinationChange {
    #[schema(value_type = Option<DestinationUrlText>)]
    pub(crate) url: Option<DestinationUrl>,
    /// Most concurrent requests.
    #[schema(value_type = Option<PositiveNumber>)]
    pub(crate) server_rate_limit: Option<u32>,
    /// `active` closes the circuit breaker as well.
    #[schema(value_type = Option<DestinationStatusGiven>)]
    pub(crate) status: Option<bool>,
    /// `ApiKey`, `BearerToken`, `JwtBearer` or `BasicAuth`, in any case.
    #[schema(value_type = Value)]
    #[expect(dead_code, reason = "it describes the body; the credentials know their type")]
    auth_type: Option<AuthType>,
    /// With `authType`, and never without it: what the type needs.
    #[schema(value_type = Value)]
    pub(crate) credentials: Option<OutboundCredentials>,
    /// `true`: requests prove nothing any more, whatever `authType` and `credentials` say.
    #[schema(value_type = Option<bool>)]
    pub(crate) remove_auth: bool,
}

impl NewDestination {
    pub(crate) async fn read(body: UnreadBody, insecure: Insecure) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let url = fields.required("url", |value| url(value, insecure));
        let limit = fields.optional("serverRateLimit", validation::positive);
        let credentials = credentials(&mut fields, insecure);
        fields.complete(|| {
            Some(Self {
                url: url?,
                server_rate_limit: limit.unwrap_or(CONCURRENCY_LIMIT_DEFAULT),
                auth_type: None,
                credentials,
            })
        })
    }
}

impl DestinationChange {
    pub(crate) async fn read(body: UnreadBody, insecure: Insecure) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let url = fields.optional("url", |value| url(value, insecure));
        let server_rate_limit = fields.optional("serverRateLimit", validation::positive);
        let status = fields.optional("status", active);
        let remove_auth = fields.optional("removeAuth", validation::boolean).unwrap_or(false);
        let credentials = if remove_auth { None } else { credentials(&mut fields, insecure) };
        fields.complete(|| {
            Some(Self { url, server_rate_limit, status, auth_type: None, credentials, remove_auth })
        })
    }
}

fn url(value: &Value, insecure: Insecure) -> Result<DestinationUrl, String> {
    DestinationUrl::parse(&validation::text(value)?, insecure).map_err(|problem| problem.to_string())
}

/// Whether a destination shall receive: nobody suspends one but its breaker.
fn active(value: &Value) -> Result<bool, String> {
    match validation::text(value)?.to_ascii_lowercase().as_str() {
        "active" => Ok(true),
        "inactive" => Ok(false),
        _ => Err("must be active or inactive".to_owned()),
    }
}

/// `authType` and `credentials`, which come together or not at all.
fn credentials(fields: &mut Fields, insecure: Insecure) -> Option<OutboundCredentials> {
    let has_type = fields.has("authType");
    let auth_type = fields.optional("authType", |value| {
        let known = AuthType::from_name(&validation::text(value)?);
        known.ok_or_else(|| "must be ApiKey, BearerToken, JwtBearer or BasicAuth".to_owned())
    });
    let Some(given) = fields.value("credentials").cloned() else {
        if has_type {
            fields.refuse("credentials", "is required with authType".to_owned());
        }
        return None;
    };
    if !has_type {
        fields.refuse("authType", "is required with credentials".to_owned());
        return None;
    }
    match OutboundCredentials::parse(auth_type?, &given, insecure) {
        Ok(credentials) => Some(credentials),
        Err(problems) => {
            for problem in problems {
                fields.refuse(problem.field, problem.problem.to_string());
            }
            None
        }
    }
}

/// How `authType` and `credentials` go together, for the description: one of these holds.
pub(crate) fn auth_choices() -> Vec<Value> {
    let no_control =
        r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    let line = r"^[^\r\n\u0000]*[^\s\u0000][^\r\n\u0000]*$";
    let text = |chars_max: u32, pattern: &str| json!({ "type": "string", "maxLength": chars_max, "pattern": pattern });
    let choice = |name: &str, credentials: Value, required: &[&str], about: &str| {
        json!({
            "description": about,
            "properties": {
                "authType": { "type": "string", "pattern": in_any_case(name) },
                "credentials": { "type": "object", "properties": credentials, "required": required },
            },
            "required": ["authType", "credentials"],
        })
    };
    vec![
        json!({
            "description": "Nothing is said of authentication.",
            "properties": { "authType": { "type": "null" }, "credentials": { "type": "null" } },
        }),
        choice(
            "ApiKey",
            json!({
                "headerName": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$", "examples": ["X-Api-Key"] },
                "value": text(2_048, no_control),
            }),
            &["headerName", "value"],
            "A header with a value.",
        ),
        choice(
            "BearerToken",
            json!({ "token": text(4_096, no_control) }),
            &["token"],
            "A fixed bearer token.",
        ),
        choice(
            "JwtBearer",
            json!({
                "tokenEndpoint": { "$ref": "#/components/schemas/DestinationUrlText" },
                "clientId": text(512, line),
                "clientSecret": text(512, line),
                "scope": { "anyOf": [{ "type": "null" }, text(512, r"^[^\r\n\u0000]*$")] },
            }),
            &["tokenEndpoint", "clientId", "clientSecret"],
            "A bearer token that is fetched with client credentials (OAuth 2.0).",
        ),
        choice(
            "BasicAuth",
            json!({ "username": text(512, r"^[^\r\n\u0000:]*[^\s\u0000:][^\r\n\u0000:]*$"), "password": text(512, line) }),
            &["username", "password"],
            "A user name and a password.",
        ),
    ]
}

fn in_any_case(name: &str) -> String {
    let letters = name
        .chars()
        .map(|letter| format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()));
    format!("^{}$", letters.collect::<String>())
}
