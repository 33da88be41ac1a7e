//! The audit trail.

mod accesses;
mod exporting;
mod searching;
mod walking;

use serde_json::Value;

use crate::harness::tenant::User;

/// Reads a page of the trail.
async fn page(user: &User, query: &str) -> Value {
    user.get(&format!("/api/v1/audit?{query}")).await.expect(200).body
}

/// Reads all pages of a search, `Qt` items each at most.
async fn search(user: &User, query: &str, items: usize) -> Vec<Value> {
    let (mut found, mut next) = (vec![], String::new());
    loop {
        let page = page(user, &format!("Qt={items}&{query}{next}")).await;
        let of_page = page["items"].as_array().expect("items");
        assert!(of_page.len() <= items);
        found.extend(of_page.iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&After={cursor}"),
            None => return found,
        }
    }
}

/// Returns the types of facts.
fn types(facts: &[Value]) -> Vec<&str> {
    facts.iter().map(|fact| fact["type"].as_str().expect("a type")).collect()
}
