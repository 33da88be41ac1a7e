//! The mapping language: the meaning of expressions, the refused mappings, and the properties of all mappings.

mod bounds;
mod examples;
mod mapped_objects;
mod properties;
mod refusals;
mod stored;

use aggregates::mapping::{Applied, Mapping};

/// Payload of the examples.
const SOURCE: &str = r#"{"id":42,"price":9.5,"qty":2,"whole":1.0,"max":9223372036854775807,"name":"acme","kind":"repo","ok":true,"nil":null,"empty":"","user":{"name":"octo","address":{"city":"Rio"}},"tags":["x","y",null,7],"grid":[[1,2],[3,4]],"items":[{"sku":"A1","p":3},{"sku":"B2","p":4}],"a+b":"plus","":"noname","0":"zero"}"#;

fn mapping(json: &str) -> Mapping {
    Mapping::parse(json).unwrap_or_else(|problem| panic!("{json}: {problem}"))
}

fn apply(mapping_json: &str, payload: &str) -> Applied {
    mapping(mapping_json)
        .apply(payload.as_bytes())
        .unwrap_or_else(|failure| panic!("{mapping_json} on {payload}: {failure}"))
}

/// The mapped object as text.
fn mapped(mapping_json: &str, payload: &str) -> String {
    String::from_utf8(apply(mapping_json, payload).bytes).expect("JSON is UTF-8")
}

/// Returns the JSON text of the mapped value of key `K`; `None` if the key is left out.
fn value_of(value_json: &str, payload: &str) -> Option<String> {
    let object = mapped(&format!(r#"{{"K":{value_json}}}"#), payload);
    if object == "{}" {
        return None;
    }
    let value = object.strip_prefix(r#"{"K":"#).and_then(|rest| rest.strip_suffix('}'));
    Some(value.expect("the only key is K").to_owned())
}
