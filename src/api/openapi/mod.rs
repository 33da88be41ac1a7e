//! The OpenAPI document, and a page to try the API.
//!
//! utoipa generates the document from the handlers. It is completed from [`ROUTES`] with what all routes have in
//! common: permissions, path parameters, paging, problems. So a handler documents only what is particular to it. The
//! page is Swagger UI; it is part of the binary and works offline.

pub(crate) mod schemas;

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use projections::listing::SortFields;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, PartialSchema};
use utoipa_swagger_ui::Config;

use crate::api::access::permissions::Permission;
use crate::api::http::admission::KeepsNoPlace;
use crate::api::http::layers;
use crate::api::http::path::Segments;
use crate::api::http::problem::{Kind, Problem, ProblemBody};
use crate::api::http::query::PAGE_ITEMS_MAX;
use crate::api::v1::destinations::authentication;
use crate::api::{Handlers, ROUTES, Route, RouteAdmission};

/// The OpenAPI document, and the configuration of the page.
#[derive(Clone)]
pub(crate) struct Docs {
    /// Whether there is a page.
    enabled: bool,
    document: Bytes,
    page: Arc<Config<'static>>,
}

impl Docs {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            document: openapi().to_string().into(),
            page: Arc::new(
                // Credentials are not stored in the browser.
                Config::from("/openapi.json").try_it_out_enabled(true).persist_authorization(false),
            ),
        }
    }
}

/// Get the OpenAPI document
#[utoipa::path(get, path = "/openapi.json", tag = "Description",
    responses((status = 200, body = Object, description = "The description of this API in OpenAPI 3.1.")))]
pub(crate) async fn document(State(docs): State<Docs>) -> impl IntoResponse {
    (Extension(KeepsNoPlace), [(CONTENT_TYPE, "application/json")], docs.document)
}

/// Open a page to try the API
#[utoipa::path(get, path = "/docs", tag = "Description",
    responses((status = 303, description = "The page is at /docs/index.html.",
        headers(("Location" = String, description = "URL of the page."))), (status = 404)))]
pub(crate) async fn page(State(docs): State<Docs>) -> Result<Redirect, Problem> {
    match docs.enabled {
        true => Ok(Redirect::to("/docs/index.html")),
        false => Err(layers::no_such_route().await),
    }
}

/// Get a file of the page
#[utoipa::path(get, path = "/docs/{file}", tag = "Description",
    responses((status = 200, body = String, content_type = "text/html", description = "The file."), (status = 404)))]
pub(crate) async fn file(State(docs): State<Docs>, segments: Segments) -> Result<Response, Problem> {
    if !docs.enabled {
        return Err(layers::no_such_route().await);
    }
    let [name] = segments.into_array()?;
    let file =
        utoipa_swagger_ui::serve(&name, docs.page).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or_else(|| Problem::new(Kind::NotFound, "The page does not have this file."))?;
    let headers = [
        (CONTENT_TYPE, file.content_type.as_str()),
        (CACHE_CONTROL, "public, max-age=3600"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Ok((Extension(KeepsNoPlace), headers, bytes).into_response())
}

/// Returns the description of the API in OpenAPI 3.1.
#[must_use]
pub fn openapi() -> Value {
    let mut document = serde_json::to_value(Handlers::openapi()).expect("a document can be serialized");
    document["info"] = json!({
        "title": "HookSentry",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Accepts webhooks, stores them durably, delivers them, and records every attempt.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/" }]);
    let problem = serde_json::to_value(ProblemBody::schema()).expect("a schema can be serialized");
    document["components"]["schemas"]["Problem"] = problem;
    document["components"]["securitySchemes"] = json!({
        "accessToken": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The `accessToken` that a login returns." },
        "portalLink": { "type": "http", "scheme": "bearer",
            "description": "The token of a portal link." },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-Api-Key",
            "description": "An API key of the tenant." },
    });
    let schemas = &mut document["components"]["schemas"];
    authentication::describe(&mut schemas["NewDestination"], false);
    authentication::describe(&mut schemas["DestinationChange"], true);
    for route in ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        if let Some(operation) = document["paths"][route.described_path()][&method].as_object_mut() {
            complete(operation, route);
        }
    }
    document
}

/// Completes an operation from the table of routes.
fn complete(operation: &mut Map<String, Value>, route: &Route) {
    operation.insert("operationId".to_owned(), operation_id(route).into());
    operation.insert(
        "security".to_owned(),
        match route.permission {
            Permission::Anyone => json!([]),
            Permission::ApiKey => json!([{ "apiKey": [] }]),
            Permission::UsePortalLink => json!([{ "portalLink": [] }]),
            permission if permission.portal_access().is_some() => {
                json!([{ "accessToken": [] }, { "portalLink": [] }])
            }
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

/// Returns whether the body is optional.
fn may_be_bare(route: &Route) -> bool {
    route.permission == Permission::RegenerateWebhookSecret
}

/// Routes that can return a problem without their handlers saying so.
#[derive(Clone, Copy)]
enum Of {
    AnyRoute,
    WithCredentials,
    WithUser,
    WithBody,
    WithJsonBody,
    WithLimits,
}

const PROBLEMS: &[(&str, Of)] = &[
    ("401", Of::WithCredentials),
    ("403", Of::WithUser),
    ("408", Of::WithBody),
    ("413", Of::WithBody),
    ("415", Of::WithJsonBody),
    ("429", Of::WithLimits),
    ("500", Of::AnyRoute),
    ("503", Of::AnyRoute),
];

impl Of {
    fn applies(self, route: &Route, has_body: bool) -> bool {
        let permission = route.permission;
        match self {
            Self::AnyRoute => true,
            Self::WithCredentials => permission != Permission::Anyone,
            Self::WithUser => permission.needs_user(),
            Self::WithBody => has_body,
            Self::WithLimits => route.admission != RouteAdmission::Unlimited,
            Self::WithJsonBody => has_body && permission != Permission::ApiKey,
        }
    }
}

/// Adds the headers of a response and, to a problem, its content and description.
fn complete_response(status: &str, response: &mut Value, route: &Route) {
    let header = |description: &str, required: bool, schema: Value| {
        let mut header = json!({ "description": description, "schema": schema });
        if required {
            header["required"] = true.into();
        }
        header
    };
    let text = || json!({ "type": "string" });
    let seconds = || json!({ "type": "integer", "minimum": 1 });
    let mut headers = json!({ "X-Request-Id": header("Id of the request, as in the logs.", false, text()) });
    match status {
        "201" | "202" => {
            let reference = json!({ "type": "string", "format": "uri-reference" });
            headers["Location"] = header("URL of the new resource.", true, reference);
        }
        "401" => headers["WWW-Authenticate"] = header("Required authentication.", true, text()),
        "429" | "503" => {
            headers["Retry-After"] = header("Seconds to wait before a retry.", status == "429", seconds());
        }
        _ => {}
    }
    if let Some(given) = response["headers"].as_object() {
        for (name, header) in given {
            headers[name] = header.clone();
        }
    }
    response["headers"] = headers;
    if let Some(description) = problem_description(status, route) {
        response["description"] = description.into();
        response["content"] =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    }
}

/// Returns what a problem of this status says; `None` for the status of a success.
fn problem_description(status: &str, route: &Route) -> Option<&'static str> {
    Some(match status {
        "400" => "The request is not valid. `errors` names each wrong field, parameter or header.",
        "401" if route.permission == Permission::Anyone => {
            "The credentials or the refresh token are not valid."
        }
        "401" if route.permission == Permission::ApiKey => "The API key is missing, unknown or revoked.",
        "401" if route.permission == Permission::UsePortalLink => {
            "The portal link is missing, invalid, expired or revoked."
        }
        "401" => "The access token is missing, invalid or expired.",
        "403" if route.permission == Permission::Anyone => {
            "The operator of the installation does not allow this: the tenant is suspended, or registration is not open."
        }
        "403" if route.permission == Permission::UsePortalLink => {
            "The request has the access token of a user."
        }
        "403" if route.permission.portal_access().is_some() => {
            "The role of the user or the portal link does not allow this, the resource belongs to another tenant, or the \
             tenant is suspended."
        }
        "403" => {
            "The role of the user does not allow this, the resource belongs to another tenant, or the tenant is suspended."
        }
        "404" => "The resource does not exist.",
        "408" => "The body arrived too slowly.",
        "409" => {
            "The request conflicts with the current state: a name or email address is in use, an invite was used or \
             has expired, or the tenant would be without an Owner."
        }
        "413" => "The body is too large.",
        "415" => "The content type of the body is not JSON.",
        "422" if route.permission == Permission::ApiKey => "The destination is inactive or suspended.",
        "422" => "The tenant has as many of these as it may have.",
        "429" => "The client or the tenant has reached a limit, which the problem names.",
        "500" => "An unexpected error occurred; the logs have its cause.",
        "508" => {
            "The webhook goes round in circles: it has passed through too many installations, as `CDN-Loop` says."
        }
        "503" => "The service is overloaded or not available. Try again later.",
        _ => return None,
    })
}

/// Returns a name that does not depend on where the handler is: `getTenantsIdWebhookSecret`.
fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/api/v1").split(['/', '-', '.']);
    let words = words.map(|word| word.trim_matches(['{', '*', '}'])).filter(|word| !word.is_empty());
    words.fold(route.method.as_str().to_ascii_lowercase(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    let segments = path.split('/').rev();
    segments.filter_map(|segment| {
        segment.strip_prefix('{').and_then(|segment| segment.trim_start_matches('*').strip_suffix('}'))
    })
}

fn path_parameter(name: &str, route: &Route) -> Value {
    let schema = match name {
        "token" if route.permission == Permission::ApiKey => {
            json!({ "type": "string", "maxLength": 512, "pattern": r"^(dst|sndr)_[!-~]+$" })
        }
        "token" => json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[!-~]+$" }),
        "tile" => json!({ "type": "string", "examples": ["0/x001/x234/067", "entries/000.p/17"] }),
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
        parameter(
            "Qt",
            format!("Items per page. More than {PAGE_ITEMS_MAX} are reduced to {PAGE_ITEMS_MAX}."),
            number.clone(),
        ),
        parameter(
            "TpOrd",
            "Direction of the order: Asc (0) or Desc (1), the name in any case, or the number.".to_owned(),
            json!({
                "anyOf": [
                    { "type": "string", "pattern": "^([Aa][Ss][Cc]|[Dd][Ee][Ss][Cc])$" },
                    { "type": "integer", "enum": [0, 1] },
                ],
                "examples": ["Asc"],
            }),
        ),
    ];
    if list.is_numbered {
        parameters.insert(1, parameter("Pg", "Number of the page, from 1.".to_owned(), number));
    }
    if let Some(fields) = list.fields {
        let schema = json!({ "type": "string", "enum": fields() });
        parameters.push(parameter(
            "CpOrd",
            "Field by which the list is sorted. Equal items are sorted by id.".to_owned(),
            schema,
        ));
    }
    parameters
}

struct List {
    path: &'static str,
    fields: Option<fn() -> Vec<&'static str>>,
    /// Whether its pages have numbers; else they begin at cursors.
    is_numbered: bool,
}

impl List {
    /// Returns a list that is sorted by a field of `F`.
    const fn sorted<F: SortFields>(path: &'static str) -> Self {
        Self { path, fields: Some(fields::<F>), is_numbered: true }
    }

    /// Returns a list whose order has no other fields.
    const fn of_entries(path: &'static str) -> Self {
        Self { path, fields: None, is_numbered: true }
    }
}

const LISTS: &[List] = &[
    List::sorted::<projections::sessions::SortField>("/api/v1/sessions"),
    List::sorted::<projections::users::SortField>("/api/v1/users"),
    List::sorted::<projections::invites::SortField>("/api/v1/invites"),
    List::sorted::<projections::api_keys::SortField>("/api/v1/apikeys"),
    List::sorted::<projections::portal_links::SortField>("/api/v1/portal-links"),
    List::sorted::<projections::destinations::SortField>("/api/v1/destinations"),
    List::sorted::<projections::senders::SortField>("/api/v1/destinations/{id}/senders"),
    List::sorted::<projections::webhook_events::SortField>("/api/v1/events"),
    List::of_entries("/api/v1/events/{id}/attempts"),
    List::of_entries("/api/v1/events/{id}/history"),
    List::of_entries("/api/v1/events/{id}/proof"),
    List::sorted::<projections::destinations::SortField>("/api/v1/stats/destinations"),
    List { path: "/api/v1/audit", fields: None, is_numbered: false },
];

fn fields<F: SortFields>() -> Vec<&'static str> {
    F::ALL.iter().map(|field| field.name()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_and_the_table_have_the_same_routes() {
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
            ROUTES.iter().map(|route| (route.method.to_string(), route.described_path())).collect();
        assert_eq!(routed.len(), ROUTES.len(), "a route is in the table twice");
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_resolves_and_every_response_is_described() {
        let document = openapi();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        for route in ROUTES {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.described_path()][method];
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
    fn operation_ids_are_unique() {
        let names: BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(names.len(), ROUTES.len());
        assert!(names.contains("getTenantsIdWebhookSecret"), "{names:?}");
    }
}
