use serde_json::json;

use super::*;
use crate::api::http::fields::number::{PositiveNumber, RetentionDays};
use crate::api::http::fields::text::{EmailText, NameText};

fn body(content_type: Option<&'static str>, text: impl Into<Body>) -> UnreadBody {
    let headers = content_type.map(|value| (CONTENT_TYPE, axum::http::HeaderValue::from_static(value)));
    let admitted = Admitted::alone(BODY_BYTES_MAX * 4);
    UnreadBody { headers: headers.into_iter().collect(), admitted, body: text.into() }
}

async fn kind_of(body: UnreadBody) -> Option<Kind> {
    body.fields(BODY_BYTES_MAX).await.err().map(|problem| problem.kind())
}

#[tokio::test]
async fn a_body_must_be_there_and_be_a_json_object_and_be_declared_as_json() {
    let json = Some("application/json");
    assert_eq!(kind_of(body(json, "{}")).await, None);
    assert_eq!(kind_of(body(Some("Application/JSON; Charset=\"UTF-8\""), "{}")).await, None);
    assert_eq!(kind_of(body(Some("application/merge-patch+json"), "{}")).await, None);
    for broken in ["", "{", "{}x", "[]", "5", "null", "{\"a\":\"\u{1}\"}", "\u{feff}{}"] {
        assert_eq!(kind_of(body(json, broken)).await, Some(Kind::MalformedBody), "{broken:?}");
    }
    assert_eq!(kind_of(body(None, "")).await, Some(Kind::MalformedBody));
    for other in [None, Some("text/plain"), Some("application/json; charset=utf-16"), Some("json")] {
        assert_eq!(kind_of(body(other, "{}")).await, Some(Kind::UnsupportedMediaType), "{other:?}");
    }
}

#[tokio::test]
async fn a_body_that_may_be_left_out_is_read_as_strictly_when_it_is_there() {
    let json = Some("application/json");
    for absent in [json, None, Some("text/plain")] {
        assert!(body(absent, "").fields_if_present().await.is_ok(), "{absent:?}");
    }
    assert!(body(json, "{\"a\":1}").fields_if_present().await.unwrap().value("a").is_some());
    let kind = async |unread: UnreadBody| unread.fields_if_present().await.unwrap_err().kind();
    assert_eq!(kind(body(json, "[")).await, Kind::MalformedBody);
    assert_eq!(kind(body(json, "null")).await, Kind::MalformedBody);
    assert_eq!(kind(body(None, "{}")).await, Kind::UnsupportedMediaType);
}

#[tokio::test]
async fn nesting_and_size_are_bounded() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(kind_of(body(Some("application/json"), deep)).await, Some(Kind::MalformedBody));
    let at_limit = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX - 8));
    assert_eq!(kind_of(body(Some("application/json"), at_limit.clone())).await, None);
    let above = at_limit.replacen('{', "{ ", 1);
    assert_eq!(kind_of(body(Some("application/json"), above)).await, Some(Kind::BodyTooLarge));
}

fn fields(value: &Value) -> Fields {
    Fields::read(value.to_string().as_bytes()).unwrap()
}

#[test]
fn names_are_read_in_any_case_and_the_last_one_counts() {
    let text = r#"{"NAME":"a","other":1,"name":"b","Limit":"5","gone":null}"#;
    let mut fields = Fields::read(text.as_bytes()).unwrap();
    assert_eq!(fields.optional::<NameText, ()>("Name", &()).as_deref(), Some("b"));
    assert_eq!(fields.required::<PositiveNumber, ()>("limit", &()), Some(5));
    assert!(fields.value("gone").is_none());
    assert_eq!(fields.optional::<RetentionDays, ()>("gone", &()), Some(None), "null has a meaning");
    assert_eq!(fields.optional::<RetentionDays, ()>("absent", &()), None);
    assert_eq!(fields.optional::<RetentionDays, ()>("limit", &()), Some(Some(5)));
    assert_eq!(fields.optional::<NameText, ()>("gone", &()), None);
    assert!(fields.complete(|| Some(())).is_ok());
}

async fn errors_of(fields: Fields) -> Value {
    let problem = fields.complete(|| Some(())).unwrap_err();
    let response = axum::response::IntoResponse::into_response(problem);
    let body = axum::body::to_bytes(response.into_body(), 9_999).await.unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["errors"].clone()
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let mut fields = fields(&json!({ "name": 5, "limit": -1 }));
    fields.required::<NameText, ()>("name", &());
    fields.optional::<PositiveNumber, ()>("limit", &());
    fields.required::<EmailText, ()>("email", &());
    assert_eq!(
        errors_of(fields).await,
        json!({
            "email": ["is required"],
            "limit": ["must be a whole number from 1 to 2147483647"],
            "name": ["must be a string"],
        })
    );
}

#[tokio::test]
async fn aliases_hold_for_all_fields_or_for_none() {
    const ALIASES: &[(&str, &str)] = &[("ownerEmail", "adminEmail"), ("ownerName", "adminName")];
    for (sent, missing) in [("ownerEmail", "ownerName"), ("adminEmail", "adminName")] {
        let mut fields = fields(&json!({ sent: "a@b" })).with_aliases(ALIASES);
        assert!(fields.required::<EmailText, ()>("ownerEmail", &()).is_some(), "{sent}");
        fields.required::<NameText, ()>("ownerName", &());
        assert_eq!(errors_of(fields).await, json!({ missing: ["is required"] }));
    }
}
