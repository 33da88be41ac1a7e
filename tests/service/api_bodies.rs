//! Every field of every body: missing, null, of another type, empty, too long, with control characters,
//! out of range. The bodies are those of the API's description, so that none is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::harness::api::{Api, PASSWORD, send, unique};
use crate::harness::events::accept;
use crate::harness::tenant::User;

/// What a field takes.
#[derive(Clone, Copy)]
enum Kind {
    /// Text of at most so many characters, without control characters; not empty.
    Name(usize),
    /// The same, and it may be empty.
    Label(usize),
    Email,
    /// Any text but none, of at most so many bytes.
    Password(usize),
    /// Any text.
    Text,
    Number {
        max: u32,
    },
    /// One of some names.
    OneOf,
    Boolean,
    Object,
    Url,
}

impl Kind {
    fn refused(self) -> Vec<Value> {
        let mut refused = match self {
            Self::Boolean => vec![json!("true"), json!(1), json!("")],
            Self::Number { max } => vec![
                json!(0),
                json!(-1),
                json!(1.5),
                json!(u64::from(max) + 1),
                json!(1e300),
                json!(true),
                json!(""),
                json!("x"),
                json!("1.5"),
                json!(" 1"),
                json!("0x1"),
                json!("99999999999999999999"),
                json!(i64::MIN),
            ],
            Self::Object => vec![json!(5), json!(true), json!("{}")],
            Self::OneOf => vec![
                json!(99),
                json!(-1),
                json!(true),
                json!(""),
                json!("nonsense"),
                json!("\0"),
                json!(1e300),
            ],
            _ => vec![json!(5), json!(true)],
        };
        refused.push(json!([]));
        if !matches!(self, Self::Object) {
            refused.push(json!({}));
        }
        refused.extend(self.refused_texts());
        refused
    }

    /// Returns texts that are refused.
    fn refused_texts(self) -> Vec<Value> {
        let mut refused = vec![];
        match self {
            Self::Name(max) => {
                refused.extend([
                    json!(""),
                    json!("  "),
                    json!("x".repeat(max + 1)),
                    json!("a\nb"),
                    json!("a\0b"),
                ]);
            }
            Self::Label(max) => {
                refused.extend([json!("x".repeat(max + 1)), json!("a\nb"), json!("a\0b"), json!("\u{85}")])
            }
            Self::Email => refused.extend([
                json!(""),
                json!("  "),
                json!("name"),
                json!("@"),
                json!("a@"),
                json!("@b"),
                json!("a\n@b"),
                json!("a@\0b"),
                json!(format!("{}@b", "x".repeat(255))),
            ]),
            Self::Password(max) => refused.extend([json!(""), json!("x".repeat(max + 1))]),
            Self::Url => refused.extend([
                json!(""),
                json!("http://a.example.com"),
                json!("nonsense"),
                json!("https://a.example.com/\n"),
                json!("https://a.example.com/\0"),
                json!(format!("https://a.example.com/{}", "x".repeat(2_048))),
            ]),
            _ => {}
        }
        refused
    }
}

struct Body {
    /// Method and path as the description has them, and the path to call.
    route: (&'static str, &'static str),
    path: String,
    valid: Value,
    fields: Vec<(&'static str, bool, Kind)>,
}

const REQUIRED: bool = true;
const OPTIONAL: bool = false;

/// Every body that has fields, with a valid example.
async fn bodies(owner: &User) -> Vec<Body> {
    let mut bodies = auth_bodies(owner);
    bodies.extend(tenant_bodies(&owner.tenant_id));
    bodies.extend(user_bodies(owner).await);
    bodies.extend(destination_bodies(owner).await);
    bodies.push(erasure_body());
    bodies.push(bulk_action_body());
    bodies.push(portal_link_body(owner).await);
    bodies.extend(event_bodies(owner).await);
    bodies
}

const NUMBER: Kind = Kind::Number { max: i32::MAX.unsigned_abs() };
const EMAIL: (&str, bool, Kind) = ("email", REQUIRED, Kind::Email);
const NEW_PASSWORD: (&str, bool, Kind) = ("password", REQUIRED, Kind::Password(1_024));

fn body(
    method: &'static str,
    route: &'static str,
    path: String,
    valid: Value,
    fields: Vec<(&'static str, bool, Kind)>,
) -> Body {
    Body { route: (method, route), path, valid, fields }
}

fn new_email() -> String {
    format!("{}@example.com", unique("body"))
}

fn auth_bodies(owner: &User) -> Vec<Body> {
    let token = vec![("refreshToken", REQUIRED, Kind::Name(512))];
    vec![
        body(
            "post",
            "/api/v1/auth/login",
            "/api/v1/auth/login".into(),
            json!({ "email": owner.email, "password": PASSWORD }),
            vec![
                EMAIL,
                NEW_PASSWORD,
                ("totpCode", OPTIONAL, Kind::OneOf),
                ("recoveryCode", OPTIONAL, Kind::OneOf),
            ],
        ),
        body(
            "post",
            "/api/v1/second-factor",
            "/api/v1/second-factor".into(),
            json!({ "currentPassword": PASSWORD }),
            vec![("currentPassword", REQUIRED, Kind::Password(1_024))],
        ),
        body(
            "post",
            "/api/v1/auth/refresh",
            "/api/v1/auth/refresh".into(),
            json!({ "refreshToken": "rfr_x" }),
            token.clone(),
        ),
        body(
            "post",
            "/api/v1/auth/logout",
            "/api/v1/auth/logout".into(),
            json!({ "refreshToken": "rfr_x" }),
            token,
        ),
    ]
}

fn tenant_bodies(tenant: &str) -> Vec<Body> {
    vec![
        body(
            "post",
            "/api/v1/tenants",
            "/api/v1/tenants".into(),
            json!({ "name": unique("body"), "ownerEmail": new_email(), "ownerPassword": "x", "maxTrys": 1, "circuitBreakerTimer": 1, "invitation": "x" }),
            vec![
                ("name", REQUIRED, Kind::Name(255)),
                ("ownerEmail", REQUIRED, Kind::Email),
                ("ownerPassword", REQUIRED, Kind::Password(1_024)),
                ("maxTrys", OPTIONAL, NUMBER),
                ("circuitBreakerTimer", OPTIONAL, NUMBER),
                ("invitation", OPTIONAL, Kind::Name(512)),
            ],
        ),
        body(
            "patch",
            "/api/v1/tenants/{id}",
            format!("/api/v1/tenants/{tenant}"),
            json!({ "name": unique("body"), "maxTrys": 1, "circuitBreakerTimer": 1, "payloadRetentionDays": 1, "eventRetentionDays": 1 }),
            vec![
                ("name", OPTIONAL, Kind::Name(255)),
                ("maxTrys", OPTIONAL, NUMBER),
                ("circuitBreakerTimer", OPTIONAL, NUMBER),
                ("payloadRetentionDays", OPTIONAL, Kind::Number { max: 36_500 }),
                ("eventRetentionDays", OPTIONAL, Kind::Number { max: 36_500 }),
            ],
        ),
        body(
            "post",
            "/api/v1/tenants/{id}/webhook-secret",
            format!("/api/v1/tenants/{tenant}/webhook-secret"),
            json!({ "overlapSeconds": 60 }),
            vec![("overlapSeconds", OPTIONAL, Kind::Number { max: 30 * 86_400 })],
        ),
        body(
            "post",
            "/api/v1/tenants/{id}/webhook-secret/verify",
            format!("/api/v1/tenants/{tenant}/webhook-secret/verify"),
            json!({ "payload": "{}", "signature": "v1,", "webhookId": "7", "webhookTimestamp": "1750000000" }),
            vec![
                ("payload", REQUIRED, Kind::Text),
                ("signature", REQUIRED, Kind::Text),
                // Each of both is required with the other one.
                ("webhookId", REQUIRED, Kind::Text),
                ("webhookTimestamp", REQUIRED, Kind::Text),
            ],
        ),
    ]
}

async fn user_bodies(owner: &User) -> Vec<Body> {
    let invite = owner.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    let colleague = owner.colleague("Viewer").await.id;
    let deleted = owner.colleague("Viewer").await.id;
    owner.delete(&format!("/api/v1/users/{deleted}")).await.expect(204);
    vec![
        body(
            "post",
            "/api/v1/users",
            "/api/v1/users".into(),
            json!({ "email": new_email(), "password": "x", "role": "Viewer" }),
            vec![EMAIL, NEW_PASSWORD, ("role", OPTIONAL, Kind::OneOf)],
        ),
        body(
            "patch",
            "/api/v1/users/{id}",
            format!("/api/v1/users/{colleague}"),
            json!({ "email": new_email(), "password": "x", "role": "Viewer", "status": "Active" }),
            vec![
                ("email", OPTIONAL, Kind::Email),
                ("password", OPTIONAL, Kind::Password(1_024)),
                ("role", OPTIONAL, Kind::OneOf),
                ("status", OPTIONAL, Kind::OneOf),
                ("currentPassword", OPTIONAL, Kind::Password(1_024)),
            ],
        ),
        body(
            "post",
            "/api/v1/users/{id}/erase",
            format!("/api/v1/users/{deleted}/erase"),
            json!({ "reason": "a" }),
            vec![("reason", REQUIRED, Kind::Name(500))],
        ),
        body(
            "post",
            "/api/v1/invites",
            "/api/v1/invites".into(),
            json!({ "validityDays": 1, "role": "Viewer" }),
            vec![("validityDays", OPTIONAL, Kind::Number { max: 30 }), ("role", OPTIONAL, Kind::OneOf)],
        ),
        body(
            "post",
            "/api/v1/invites/{token}/register",
            format!("/api/v1/invites/{invite}/register"),
            json!({ "email": new_email(), "password": "x" }),
            vec![EMAIL, NEW_PASSWORD],
        ),
        body(
            "post",
            "/api/v1/apikeys",
            "/api/v1/apikeys".into(),
            json!({ "name": "a" }),
            vec![("name", REQUIRED, Kind::Name(100))],
        ),
    ]
}

async fn destination_bodies(owner: &User) -> Vec<Body> {
    let (destination, _) = owner.destination().await;
    let destination_fields = |url| {
        vec![
            ("url", url, Kind::Url),
            ("serverRateLimit", OPTIONAL, NUMBER),
            ("authType", OPTIONAL, Kind::OneOf),
            ("credentials", OPTIONAL, Kind::Object),
        ]
    };
    let mut change_fields = destination_fields(OPTIONAL);
    change_fields.extend([("status", OPTIONAL, Kind::OneOf), ("removeAuth", OPTIONAL, Kind::Boolean)]);
    let bearer = json!({ "authType": "BearerToken", "credentials": { "token": "t" } });
    let with_bearer = |mut body: Value| {
        body.as_object_mut().unwrap().extend(bearer.as_object().unwrap().clone());
        body
    };
    vec![
        body(
            "post",
            "/api/v1/destinations",
            "/api/v1/destinations".into(),
            with_bearer(json!({ "url": "https://a.example.com", "serverRateLimit": 1 })),
            destination_fields(REQUIRED),
        ),
        body(
            "patch",
            "/api/v1/destinations/{id}",
            format!("/api/v1/destinations/{destination}"),
            with_bearer(
                json!({ "url": "https://a.example.com", "serverRateLimit": 1, "status": "active", "removeAuth": false }),
            ),
            change_fields,
        ),
        body(
            "post",
            "/api/v1/destinations/{id}/senders",
            format!("/api/v1/destinations/{destination}/senders"),
            json!({ "label": "a" }),
            vec![("label", OPTIONAL, Kind::Label(255))],
        ),
    ]
}

fn erasure_body() -> Body {
    let fields = vec![
        ("scope", REQUIRED, Kind::OneOf),
        ("status", OPTIONAL, Kind::OneOf),
        ("destinationUrlId", OPTIONAL, Kind::OneOf),
        ("from", OPTIONAL, Kind::OneOf),
        ("to", OPTIONAL, Kind::OneOf),
        ("reason", REQUIRED, Kind::Name(500)),
        ("dryRun", OPTIONAL, Kind::Boolean),
    ];
    body(
        "post",
        "/api/v1/erasures",
        "/api/v1/erasures".into(),
        json!({ "scope": "Tenant", "reason": "a" }),
        fields,
    )
}

fn bulk_action_body() -> Body {
    let fields = vec![
        ("action", REQUIRED, Kind::OneOf),
        ("filter", REQUIRED, Kind::Object),
        ("ratePerSecond", OPTIONAL, NUMBER),
        ("dryRun", OPTIONAL, Kind::Boolean),
    ];
    // A dry run: the number of bulk actions in progress is limited.
    body(
        "post",
        "/api/v1/bulk-actions",
        "/api/v1/bulk-actions".into(),
        json!({ "action": "Replay", "filter": {}, "dryRun": true }),
        fields,
    )
}

async fn portal_link_body(owner: &User) -> Body {
    let (destination, _) = owner.destination().await;
    let fields = vec![
        ("destinationId", REQUIRED, Kind::OneOf),
        ("access", REQUIRED, Kind::OneOf),
        ("label", REQUIRED, Kind::Name(255)),
        ("expiresInSeconds", OPTIONAL, Kind::Number { max: 90 * 86_400 }),
    ];
    body(
        "post",
        "/api/v1/portal-links",
        "/api/v1/portal-links".into(),
        json!({ "destinationId": destination, "access": "Read", "label": "a" }),
        fields,
    )
}

async fn event_bodies(owner: &User) -> Vec<Body> {
    let (destination, token) = owner.destination().await;
    let event = accept(owner, &owner.api_key().await, &token).await;
    let tenant = &owner.tenant_id;
    [
        ("/api/v1/events/{id}/erase", event.as_str()),
        ("/api/v1/tenants/{id}/legal-hold", tenant),
        ("/api/v1/tenants/{id}/legal-hold/lift", tenant),
        ("/api/v1/destinations/{id}/legal-hold", &destination),
        ("/api/v1/destinations/{id}/legal-hold/lift", &destination),
    ]
    .map(|(route, id)| {
        let fields = vec![("reason", REQUIRED, Kind::Name(500))];
        body("post", route, route.replace("{id}", id), json!({ "reason": "a" }), fields)
    })
    .into()
}

/// Bodies that are read as a whole, or that are valid once, and have tests of their own.
const OTHER_BODIES: [&str; 6] = [
    "/api/v1/second-factor/confirm",
    "/api/v1/second-factor/recovery-codes",
    "/api/v1/second-factor/disable",
    "/api/v1/senders/{id}/mapping",
    "/api/v1/senders/{id}/mapping/preview",
    "/api/v1/ingest/{tenantId}/{token}",
];

#[tokio::test]
async fn the_bodies_below_are_those_of_the_description() {
    let owner = User::owner(&Api::shared().await).await;
    let description = hooksentry::api::openapi();
    let mut described = BTreeMap::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(schema) =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
            else {
                continue;
            };
            if OTHER_BODIES.contains(&path.as_str()) {
                continue;
            }
            let properties = &description.pointer(&schema[1..]).unwrap()["properties"];
            let names: BTreeSet<String> = properties.as_object().unwrap().keys().cloned().collect();
            described.insert((method.clone(), path.clone()), names);
        }
    }
    let here: BTreeMap<_, _> = bodies(&owner)
        .await
        .into_iter()
        .map(|body| {
            let (method, path) = body.route;
            let names: BTreeSet<String> = body.fields.iter().map(|(name, ..)| (*name).to_owned()).collect();
            ((method.to_owned(), path.to_owned()), names)
        })
        .collect();
    assert_eq!(here, described);
}

#[tokio::test]
async fn every_wrong_field_is_refused_by_name_and_nothing_else_is() {
    let owner = User::owner(&Api::shared().await).await;
    for body in bodies(&owner).await {
        let method = body.route.0.to_uppercase();
        let call = async |sent: &Value| {
            // Limits by address are not what is tried here.
            let visitor = User { api: owner.api.with_new_address(), ..owner.clone() };
            send(visitor.request(&method, &body.path).json(sent)).await
        };
        for (name, required, kind) in &body.fields {
            let mut bad: Vec<Value> = kind.refused();
            if *required {
                bad.push(Value::Null);
                let without = without(&body.valid, name);
                assert_eq!(
                    call(&without).await.expect(400).wrong(),
                    [*name],
                    "{method} {} without {name}",
                    body.path
                );
            }
            for value in bad {
                let mut sent = body.valid.clone();
                sent[*name] = value;
                let what = format!("{method} {} with {name} = {}", body.path, shortened(&sent[*name]));
                let answer = call(&sent).await;
                assert_eq!(answer.status, 400, "{what}: {}", answer.text);
                assert!(
                    !answer.wrong().is_empty() && answer.wrong().iter().all(|wrong| wrong.starts_with(*name)),
                    "{what}: {}",
                    answer.text
                );
            }
        }
        // All of them at once are named at once.
        let mut all_bad = body.valid.clone();
        let mut names: Vec<&str> = vec![];
        for (name, ..) in &body.fields {
            all_bad[*name] = json!([[]]);
            names.push(name);
        }
        if !body.valid.as_object().unwrap().contains_key("removeAuth") && !names.contains(&"credentials") {
            names.sort_unstable();
            assert_eq!(call(&all_bad).await.expect(400).wrong(), names, "{method} {}", body.path);
        }
    }
}

#[tokio::test]
async fn absent_and_null_are_alike_and_unknown_fields_and_case_do_not_matter() {
    let owner = User::owner(&Api::shared().await).await;
    for body in bodies(&owner).await {
        let method = body.route.0.to_uppercase();
        let mut sent = Map::new();
        for (name, value) in body.valid.as_object().unwrap() {
            let required = body.fields.iter().any(|(field, required, _)| field == name && *required);
            sent.insert(name.to_uppercase(), if required { value.clone() } else { Value::Null });
        }
        sent.insert("somethingElse".to_owned(), json!({ "a": ["b"] }));
        let visitor = User { api: owner.api.with_new_address(), ..owner.clone() };
        let answer = send(visitor.request(&method, &body.path).json(&sent)).await;
        // Tokens that are well-formed and not known are refused for that.
        let well_formed = if body.valid.get("refreshToken").is_some() { 401..402 } else { 200..300 };
        assert!(well_formed.contains(&answer.status), "{method} {}: {}", body.path, answer.text);
    }
}

fn without(body: &Value, name: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove(name);
    body
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
