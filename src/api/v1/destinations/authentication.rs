//! Outbound authentication in requests: `authType` and `credentials`, which are sent together or not at all. The
//! schema is JSON because utoipa has no `anyOf` next to `properties`.

use aggregates::destination::AuthType;
use aggregates::outbound_credentials::OutboundCredentials;
use aggregates::target_rules::TargetRules;
use serde_json::{Value, json};

use crate::api::http::body::Fields;
use crate::api::http::fields::text::any_text;
use crate::api::http::fields::{Property, in_any_case};

/// Authentication of a new destination.
pub(crate) enum NewAuthentication {}

/// Authentication in a change of a destination. It is not read if `removeAuth` is `true`.
pub(crate) enum ChangedAuthentication {}

impl Property<TargetRules> for NewAuthentication {
    type Value = Option<OutboundCredentials>;

    fn read(fields: &mut Fields, name: &'static str, rules: &TargetRules) -> Option<Self::Value> {
        let auth_type = fields.value("authType").cloned();
        let credentials = fields.value(name).cloned();
        let auth_type = match (auth_type, &credentials) {
            (None, None) => return Some(None),
            (None, Some(_)) => Err("is required with credentials".to_owned()),
            (Some(auth_type), _) => any_text(&auth_type).and_then(|name| {
                let refusal = || format!("must be one of {}", AuthType::ALL.map(AuthType::name).join(", "));
                AuthType::from_name(name).ok_or_else(refusal)
            }),
        };
        let auth_type = auth_type.map_err(|message| fields.refuse("authType", message)).ok();
        let Some(credentials) = credentials else {
            fields.refuse(name, "is required with authType".to_owned());
            return None;
        };
        match OutboundCredentials::parse(auth_type?, &credentials, rules) {
            Ok(credentials) => Some(Some(credentials)),
            Err(problems) => {
                for problem in problems {
                    fields.refuse(problem.field, problem.problem.to_string());
                }
                None
            }
        }
    }
}

impl Property<TargetRules> for ChangedAuthentication {
    type Value = Option<OutboundCredentials>;

    fn read(fields: &mut Fields, name: &'static str, rules: &TargetRules) -> Option<Self::Value> {
        match fields.value("removeAuth") {
            Some(Value::Bool(true)) => Some(None),
            _ => NewAuthentication::read(fields, name, rules),
        }
    }
}

/// Adds `authType` and `credentials` to the schema of a body.
pub(crate) fn describe(schema: &mut Value, removable: bool) {
    let names = AuthType::ALL.map(|auth_type| format!("`{}`", auth_type.name())).join(", ");
    schema["properties"]["authType"] =
        json!({ "description": format!("One of {names}, in any case. Sent together with `credentials`.") });
    schema["properties"]["credentials"] =
        json!({ "description": "Credentials of the `authType`, sent together with it." });
    // Documented as required, with `null` for no authentication. Requests may omit both as well.
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    required.extend(["authType".into(), "credentials".into()]);
    schema["required"] = required.into();
    let absent = json!({
        "description": "No authentication is sent.",
        "properties": { "authType": { "type": "null" }, "credentials": { "type": "null" } },
    });
    let removal = json!({
        "description": "The authentication is removed.",
        "properties": { "removeAuth": { "const": true } },
        "required": ["removeAuth"],
    });
    let choices = [absent].into_iter().chain(AuthType::ALL.map(choice)).chain(removable.then_some(removal));
    schema["anyOf"] = choices.collect();
}

fn choice(auth_type: AuthType) -> Value {
    let (description, credentials, required) = credentials_of(auth_type);
    json!({
        "description": description,
        "properties": {
            "authType": { "type": "string", "pattern": in_any_case([auth_type.name().to_owned()]) },
            "credentials": { "type": "object", "properties": credentials, "required": required },
        },
        "required": ["authType", "credentials"],
    })
}

/// Returns the description of an authentication type, the schemas of its credentials, and which are required.
fn credentials_of(auth_type: AuthType) -> (&'static str, Value, &'static [&'static str]) {
    let header =
        r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    let line = r"^[^\r\n\u0000]*[^\s\u0000][^\r\n\u0000]*$";
    let text = |chars_max: u32, pattern: &str| json!({ "type": "string", "maxLength": chars_max, "pattern": pattern });
    match auth_type {
        AuthType::ApiKey => (
            "A header with a fixed value.",
            json!({
                "headerName": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$", "examples": ["X-Api-Key"] },
                "value": text(2_048, header),
            }),
            &["headerName", "value"],
        ),
        AuthType::BearerToken => {
            ("A fixed bearer token.", json!({ "token": text(4_096, header) }), &["token"])
        }
        AuthType::JwtBearer => (
            "A bearer token that is requested with client credentials (OAuth 2.0).",
            json!({
                "tokenEndpoint": { "$ref": "#/components/schemas/DestinationUrlText" },
                "clientId": text(512, line),
                "clientSecret": text(512, line),
                "scope": { "anyOf": [{ "type": "null" }, text(512, r"^[^\r\n\u0000]*$")] },
            }),
            &["tokenEndpoint", "clientId", "clientSecret"],
        ),
        AuthType::BasicAuth => (
            "A user name and a password.",
            json!({
                "username": text(512, r"^[^\r\n\u0000:]*[^\s\u0000:][^\r\n\u0000:]*$"),
                "password": text(512, line),
            }),
            &["username", "password"],
        ),
    }
}
