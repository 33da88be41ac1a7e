//! The API's description, and a page to try it.
//!
//! The description is generated from the handlers and completed from the table of routes: who may call,
//! what an id in a path is, how lists are paged, which problems every route can answer with. So a handler
//! says only what is particular to it. The page is Swagger UI, within the binary: it works offline.

pub(crate) mod schemas;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use projections::listing::SortFields;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, PartialSchema};
use utoipa_swagger_ui::Config;

use crate::api::access::permissions::Permission;
use crate::api::http::path::Segments;
use crate::api::http::problem::{Kind, Problem, ProblemBody};
use crate::api::http::query::PAGE_ITEMS_MAX;
use crate::api::v1::destinations::bodies::auth_choices;
use crate::api::{Handlers, ROUTES, Route};

/// The description and the page, ready to be sent.
#[derive(Clone)]
pub(crate) struct Docs {
    openapi: Bytes,
    page: Arc<Config<'static>>,
}

impl Docs {
    pub(crate) fn new() -> Self {
        Self {
            openapi: openapi().to_string().into(),
            page: Arc::new(
                Config::from("/openapi.json").try_it_out_enabled(true).persist_authorization(true),
            ),
        }
    }
}

/// The description of the API (OpenAPI 3.1).
#[utoipa::path(get, path = "/openapi.json", tag = "Description", responses((status = 200, body = Object)))]
pub(crate) async fn openapi_json(State(docs): State<Docs>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], docs.openapi)
}

/// A page to try the API.
#[utoipa::path(get, path = "/docs", tag = "Description",
    responses((status = 303, description = "The page is at /docs/index.html.",
        headers(("Location" = String, description = "Where the page is.")))))]
pub(crate) async fn index() -> Redirect {
    Redirect::to("/docs/index.html")
}

/// A file of the page to try the API.
#[utoipa::path(get, path = "/docs/{file}", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html"), (status = 404)))]
pub(crate) async fn file(State(docs): State<Docs>, segments: Segments) -> Result<Response, Problem> {
    let [name] = segments.of()?;
    let file =
        utoipa_swagger_ui::serve(&name, docs.page).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or_else(|| Problem::new(Kind::NotFound, "The page has no such file."))?;
    let headers = [
        (CONTENT_TYPE, file.content_type.as_str()),
        (CACHE_CONTROL, "public, max-age=3600"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
        ),
    ];
    Ok((headers, file.bytes.into_owned()).into_response())
}

/// The description of the API (OpenAPI 3.1).
#[must_use]
pub fn openapi() -> Value {
    let mut document =
        serde_json::to_value(Handlers::openapi()).expect("a description can be written as JSON");
    document["info"] = json!({
        "title": "HookSentry",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Accepts webhooks, keeps them safe, delivers them, and can prove what it did.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/" }]);
    let problem = serde_json::to_value(ProblemBody::schema()).expect("a schema can be written as JSON");
    document["components"]["schemas"]["Problem"] = problem;
    document["components"]["securitySchemes"] = json!({
        "accessToken": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The `accessToken` of a login." },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-Api-Key",
            "description": "An API key of the tenant." },
    });
    let schemas = &mut document["components"]["schemas"];
    schemas["NewDestination"]["anyOf"] = auth_choices().into();
    let removal = json!({ "description": "Authentication is removed, whatever else is said of it.",
        "properties": { "removeAuth": { "const": true } }, "required": ["removeAuth"] });
    schemas["DestinationChange"]["anyOf"] = auth_choices().into_iter().chain([removal]).collect();
    for route in ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        if let Some(operation) = document["paths"][route.path][&method].as_object_mut() {
            complete(operation, route);
        }
    }
    document
}

/// What the table of routes says of an operation.
fn complete(operation: &mut Map<String, Value>, route: &Route) {
    operation.insert("operationId".to_owned(), operation_id(route).into());
    operation.insert(
        "security".to_owned(),
        match route.permission {
            Permission::Anyone => json!([]),
            Permission::ApiKey => json!([{ "apiKey": [] }]),
            _ => json!([{ "accessToken": [] }]),
        },
    );
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        for name in names_in(route.path) {
            parameters.insert(0, path_parameter(name, route));
        }
        parameters.extend(paging_parameters(route));
    }
    let has_body = operation.contains_key("requestBody");
    if has_body {
        operation["requestBody"]["required"] = (!may_be_bare(route)).into();
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, ..) in PROBLEMS.iter().filter(|(_, of)| of.applies(route, has_body)) {
        responses.entry(*status).or_insert_with(|| json!({}));
    }
    for (status, response) in responses {
        complete_response(status, response, route);
    }
}

/// Whether the body may be left out.
fn may_be_bare(route: &Route) -> bool {
    route.permission == Permission::RegenerateWebhookSecret
}

/// When an answer is one that a route gives without its handler having to say so.
#[derive(Clone, Copy)]
enum Of {
    AnyRoute,
    WithUser,
    WithApiKey,
    NotForEveryRole,
    WithBody,
    WithJsonBody,
}

const PROBLEMS: &[(&str, Of)] = &[
    ("401", Of::WithUser),
    ("401", Of::WithApiKey),
    ("403", Of::NotForEveryRole),
    ("408", Of::WithBody),
    ("413", Of::WithBody),
    ("415", Of::WithJsonBody),
    ("500", Of::AnyRoute),
    ("503", Of::AnyRoute),
];

impl Of {
    fn applies(self, route: &Route, has_body: bool) -> bool {
        let permission = route.permission;
        match self {
            Self::AnyRoute => true,
            Self::WithUser => permission.needs_user(),
            Self::WithApiKey => permission == Permission::ApiKey,
            Self::NotForEveryRole => {
                permission.needs_user()
                    && !aggregates::role::Role::ALL.iter().all(|role| permission.allows(*role))
            }
            Self::WithBody => has_body,
            Self::WithJsonBody => has_body && permission != Permission::ApiKey,
        }
    }
}

fn complete_response(status: &str, response: &mut Value, route: &Route) {
    let mut headers = json!({ "X-Request-Id": {
        "description": "The request's id, as the log knows it.", "schema": { "type": "string" } } });
    match status {
        "201" | "202" => {
            headers["Location"] = json!({ "description": "Where the new thing is found.",
                "required": true, "schema": { "type": "string", "format": "uri-reference" } });
        }
        "401" => {
            headers["WWW-Authenticate"] = json!({ "description": "How to authenticate.",
                "required": true, "schema": { "type": "string" } });
        }
        "429" => {
            headers["Retry-After"] = json!({ "description": "Seconds to wait.",
                "required": true, "schema": { "type": "integer", "minimum": 1 } });
        }
        "503" => {
            headers["Retry-After"] =
                json!({ "description": "Seconds to wait.", "schema": { "type": "integer", "minimum": 1 } });
        }
        _ => {}
    }
    if let Some(given) = response["headers"].as_object() {
        for (name, header) in given {
            headers[name] = header.clone();
        }
    }
    response["headers"] = headers;
    let problem = status.starts_with('4') || status.starts_with('5');
    if problem {
        response["content"] =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    }
    if response["description"].as_str().is_none_or(str::is_empty) {
        response["description"] = description(status, route).into();
    }
}

fn description(status: &str, route: &Route) -> &'static str {
    match status {
        "200" => "Done.",
        "201" => "Made.",
        "204" => "Done; there is nothing to say.",
        "400" => {
            "The request is not valid; `errors` says what is wrong with each field, parameter or header."
        }
        "401" if route.permission == Permission::Anyone => "Email, password or refresh token are not valid.",
        "401" => "Not authenticated, or not any more.",
        "403" => "The role does not allow it, or it belongs to another tenant.",
        "404" => "There is no such thing.",
        "408" => "The body did not arrive in time.",
        "409" => "It conflicts with what is: a name or email in use, an invite that is used, the last Owner.",
        "413" => "The body is too large.",
        "415" => "The body is not declared as JSON.",
        "422" => "The destination is inactive or suspended.",
        "429" => "Too many of these.",
        "503" => "The service cannot do it at the moment.",
        _ => "Something broke; the log knows what.",
    }
}

/// `getTenantsWebhookSecret`: a name that stays when handlers move.
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/api/v1").split(['/', '-', '.']);
    let words = words.map(|word| word.trim_matches(['{', '}'])).filter(|word| !word.is_empty());
    words.fold(route.method.as_str().to_ascii_lowercase(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    let segments = path.split('/').rev();
    segments.filter_map(|segment| segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')))
}

fn path_parameter(name: &str, route: &Route) -> Value {
    let schema = match name {
        "token" if route.permission == Permission::ApiKey => {
            json!({ "type": "string", "maxLength": 512, "pattern": r"^(dst|sndr)_[!-~]+$" })
        }
        "token" => json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[!-~]+$" }),
        "file" => json!({ "type": "string", "examples": ["index.html"] }),
        _ => json!({ "type": "string", "format": "uuid" }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn paging_parameters(route: &Route) -> Vec<Value> {
    let Some(list) = LISTS.iter().find(|list| route.method == "GET" && list.path == route.path) else {
        return vec![];
    };
    let number = json!({ "type": "integer", "minimum": 1 });
    let parameter = |name: &str, description: String, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    let mut parameters = vec![
        parameter("Qt", format!("Items a page; above {PAGE_ITEMS_MAX} are cut to it."), number.clone()),
        parameter("Pg", "The number of the page, from 1.".to_owned(), number),
        parameter(
            "TpOrd",
            "The direction of the order, by name in any case or by number.".to_owned(),
            json!({
                "anyOf": [
                    { "type": "string", "pattern": "^([Aa][Ss][Cc]|[Dd][Ee][Ss][Cc])$" },
                    { "type": "integer", "enum": [0, 1] },
                ],
                "examples": ["Asc"],
            }),
        ),
    ];
    if let Some(fields) = list.fields {
        let schema = json!({ "type": "string", "enum": fields() });
        parameters.push(parameter(
            "CpOrd",
            "What the list is sorted by; ids settle ties in the end.".to_owned(),
            schema,
        ));
    }
    parameters
}

struct List {
    path: &'static str,
    fields: Option<fn() -> Vec<&'static str>>,
}

const LISTS: &[List] = &[
    List { path: "/api/v1/users", fields: Some(fields::<projections::users::SortField>) },
    List { path: "/api/v1/invites", fields: Some(fields::<projections::invites::SortField>) },
    List { path: "/api/v1/apikeys", fields: Some(fields::<projections::api_keys::SortField>) },
    List { path: "/api/v1/destinations", fields: Some(fields::<projections::destinations::SortField>) },
    List {
        path: "/api/v1/destinations/{id}/senders",
        fields: Some(fields::<projections::senders::SortField>),
    },
    List { path: "/api/v1/events", fields: Some(fields::<projections::webhook_events::SortField>) },
    List { path: "/api/v1/events/{id}/attempts", fields: None },
    List { path: "/api/v1/events/{id}/history", fields: None },
];

fn fields<F: SortFields>() -> Vec<&'static str> {
    F::ALL.iter().map(|field| field.name()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_and_the_table_name_the_same_routes() {
        let described: BTreeSet<(String, String)> = Handlers::openapi()
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| {
                let item = serde_json::to_value(item).unwrap();
                let methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
                methods.into_iter().map(|method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let routed: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(routed.len(), ROUTES.len(), "a route is in the table twice");
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_answer_is_described() {
        let document = openapi();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        for route in ROUTES {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][method];
            assert!(operation["summary"].is_string(), "{}", route.path);
            for (status, response) in operation["responses"].as_object().unwrap() {
                let empty = matches!(status.as_str(), "204" | "303");
                assert_ne!(response["description"], "", "{} {status}", route.path);
                assert_eq!(response.get("content").is_none(), empty, "{} {status}", route.path);
            }
        }
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let names: BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(names.len(), ROUTES.len());
        assert!(names.contains("getTenantsIdWebhookSecret"), "{names:?}");
    }
}
