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
pub(crate) async fn search(user: &User, query: &str, items: usize) -> Vec<Value> {
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

/// Waits until all facts before now are in the trail. A fact is in it when no older transaction runs any more, and other
/// tests use the same database. A command waits for the read models, which have passed these facts then.
pub(crate) async fn settle(owner: &User) {
    owner.api_key().await;
}

/// Returns the types of facts.
pub(crate) fn types(facts: &[Value]) -> Vec<&str> {
    facts.iter().map(|fact| fact["type"].as_str().expect("a type")).collect()
}
