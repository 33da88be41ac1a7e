//! Finding events: by sender, by how the last attempt ended, and by what is in the payload.

use aggregates::attempt_outcome::Outcome;
use serde_json::{Value, json};

use crate::harness::api::{Api, send};
use crate::harness::events::{accept, attempt, until_found, until_listed};
use crate::harness::tenant::User;

struct Setting {
    owner: User,
    key: String,
    token: String,
}

impl Setting {
    async fn new() -> Self {
        let owner = User::owner(&Api::shared().await).await;
        let key = owner.api_key().await;
        let (_, token) = owner.destination().await;
        Self { owner, key, token }
    }

    /// Sends a webhook with this payload, and waits until lists show it.
    async fn accept(&self, payload: &str) -> String {
        let request = self.owner.ingest(&self.key, &self.token, payload);
        let id = send(request).await.expect(202).text_of("eventId");
        until_listed(&self.owner, &id, "Pending").await;
        id
    }

    async fn page(&self, query: &str) -> Value {
        self.owner.get(&format!("/api/v1/events?{query}")).await.expect(200).body
    }

    /// Returns the ids of the events that a query finds.
    async fn found(&self, query: &str) -> Vec<String> {
        ids(&self.page(query).await)
    }
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn events_are_found_by_how_their_last_attempt_ended() {
    let setting = Setting::new().await;
    let mut ids = vec![];
    for _ in 0..4 {
        ids.push(setting.accept("{}").await);
    }
    let [new, delivered, refused, replaced] = ids.try_into().expect("four events");
    attempt(&setting.owner, &delivered, Outcome::Succeeded, 2).await;
    attempt(&setting.owner, &refused, Outcome::RefusedStatus, 2).await;
    attempt(&setting.owner, &replaced, Outcome::RefusedStatus, 9).await;
    attempt(&setting.owner, &replaced, Outcome::Timeout, 9).await;
    until_found(&setting.owner, &replaced, "Outcome=timeout").await;

    for (query, expected) in [
        ("Outcome=refused_status", vec![&refused]),
        ("outcome=1", vec![&refused]),
        ("HttpStatus=503", vec![&refused]),
        ("HttpStatus=503&Status=WaitingRetry&CpOrd=status", vec![&refused]),
        ("Outcome=timeout", vec![&replaced]),
        ("HttpStatus=204", vec![&delivered]),
        ("Outcome=succeeded&HttpStatus=204", vec![&delivered]),
        ("Outcome=dns", vec![]),
        ("HttpStatus=500", vec![]),
    ] {
        let page = setting.page(query).await;
        assert_eq!(self::ids(&page), expected.iter().map(|id| (*id).clone()).collect::<Vec<_>>(), "{query}");
        assert_eq!(page["total"], expected.len(), "{query}");
        assert_eq!(page["totalIsLowerBound"], false, "{query}");
    }
    let shown = async |id: &str| {
        let event = setting.owner.get(&format!("/api/v1/events/{id}")).await.expect(200).body;
        (event["lastOutcome"].clone(), event["lastHttpStatus"].clone())
    };
    assert_eq!(shown(&new).await, (Value::Null, Value::Null));
    assert_eq!(shown(&delivered).await, (json!("succeeded"), json!(204)));
    assert_eq!(shown(&replaced).await, (json!("timeout"), Value::Null));
    for (query, field) in
        [("Outcome=gone", "Outcome"), ("HttpStatus=99", "HttpStatus"), ("HttpStatus=5xx", "HttpStatus")]
    {
        let refused = setting.owner.get(&format!("/api/v1/events?{query}")).await.expect(400);
        assert_eq!(refused.wrong(), [field], "{query}");
    }
}

#[tokio::test]
async fn events_are_found_by_their_sender_and_counted_by_all_fields() {
    let setting = Setting::new().await;
    let (destination, _) = setting.owner.destination().await;
    let senders = format!("/api/v1/destinations/{destination}/senders");
    let made = setting.owner.post(&senders, &json!({ "label": "GitHub" })).await.expect(201);
    let (sender, token) = (made.text_of("id"), made.text_of("ingestToken"));
    let direct = setting.accept("{}").await;
    let sent = accept(&setting.owner, &setting.key, &token).await;
    attempt(&setting.owner, &sent, Outcome::RefusedStatus, 9).await;
    until_listed(&setting.owner, &sent, "WaitingRetry").await;

    assert_eq!(setting.found(&format!("SenderId={sender}")).await, std::slice::from_ref(&sent));
    let all = setting.page("TpOrd=Asc").await;
    assert_eq!(ids(&all), [direct, sent]);
    assert_eq!((&all["items"][0]["senderId"], &all["items"][1]["senderId"]), (&Value::Null, &json!(sender)));

    let facets = setting.owner.get("/api/v1/events/facets").await.expect(200).body;
    let one = |value: Value| json!([{ "value": value, "count": 1 }]);
    assert_eq!((&facets["examined"], &facets["isComplete"]), (&json!(2), &json!(true)));
    assert_eq!(facets["statuses"][0], json!({ "value": "Pending", "count": 1 }));
    assert_eq!(facets["statuses"][1], json!({ "value": "WaitingRetry", "count": 1 }));
    assert_eq!(facets["destinations"].as_array().expect("destinations").len(), 2);
    assert_eq!(facets["senders"], one(json!(sender)));
    assert_eq!(facets["outcomes"], one(json!("refused_status")));
    assert_eq!(facets["httpStatuses"], one(json!(503)));

    let path = format!("/api/v1/events/facets?SenderId={sender}&Status=Pending");
    let none = setting.owner.get(&path).await.expect(200).body;
    assert_eq!((&none["examined"], &none["statuses"]), (&json!(0), &json!([])));
    let stranger = User::owner(&setting.owner.api).await;
    let foreign = stranger.get("/api/v1/events/facets").await.expect(200).body;
    assert_eq!(foreign["examined"], 0);
}

#[tokio::test]
async fn payloads_are_searched() {
    let setting = Setting::new().await;
    let order = setting.accept(r#"{"order":{"id":7,"customer":"Zoë & Söhne"},"paid":true}"#).await;
    let other = setting.accept(r#"{"order":{"id":70,"customer":"Order 7"},"paid":false}"#).await;
    for (query, expected) in [
        ("PayloadContains=Zo%C3%AB+%26", vec![&order]),
        ("PayloadContains=%22id%22:7", vec![&other, &order]),
        ("PayloadContains=zo%C3%AB", vec![]),
        ("PayloadPath=order:id", vec![&other, &order]),
        ("PayloadPath=order:id&PayloadValue=7", vec![&order]),
        ("PayloadPath=paid&PayloadValue=false", vec![&other]),
        ("PayloadPath=order:customer&PayloadValue=Order+7&PayloadContains=70", vec![&other]),
        ("PayloadPath=order:customer&PayloadValue=Order+7&PayloadContains=71", vec![]),
        ("PayloadContains=order&Status=Succeeded", vec![]),
        ("PayloadContains=order&TpOrd=Asc", vec![&order, &other]),
        ("PayloadContains=order&To=2020-01-01", vec![]),
    ] {
        let page = setting.page(query).await;
        assert_eq!(ids(&page), expected.iter().map(|id| (*id).clone()).collect::<Vec<_>>(), "{query}");
        assert_eq!(page["search"]["isComplete"], true, "{query}");
        assert_eq!((&page["next"], &page["totalIsLowerBound"]), (&Value::Null, &json!(false)), "{query}");
    }
    assert_eq!(setting.page("").await["search"], Value::Null);
    let stranger = User::owner(&setting.owner.api).await;
    let foreign = stranger.get("/api/v1/events?PayloadContains=order").await.expect(200).body;
    assert_eq!((&foreign["total"], &foreign["search"]["examined"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_search_continues_where_its_page_ended() {
    let setting = Setting::new().await;
    let mut wanted = vec![];
    for number in 0..5 {
        let id = setting.accept(&format!(r#"{{"number":{number}}}"#)).await;
        if number != 2 {
            wanted.push(id);
        }
    }
    setting.accept(r#"{"other":1}"#).await;
    wanted.reverse();
    let query = "Qt=2&PayloadPath=number&PayloadContains=num";
    let first = setting.page(query).await;
    assert_eq!(first["search"]["examined"], 3, "the newest does not match");
    assert_eq!(first["search"]["isComplete"], false);
    assert_eq!(first["totalIsLowerBound"], true);
    let next = first["next"].as_str().expect("a cursor");
    let second = setting.page(&format!("{query}&After={next}")).await;
    assert_eq!(second["search"]["examined"], 2);
    for other in ["Qt=2", "Qt=2&PayloadPath=number", "Qt=2&PayloadPath=number&PayloadContains=n"] {
        let path = format!("/api/v1/events?{other}&After={next}");
        assert_eq!(setting.owner.get(&path).await.expect(400).wrong(), ["After"], "{other}");
    }
    let next = second["next"].as_str().expect("a cursor");
    let third = setting.page(&format!("{query}&After={next}")).await;
    assert_eq!((&third["next"], &third["search"]["isComplete"]), (&Value::Null, &json!(true)));
    let found: Vec<_> = [first, second, third].iter().flat_map(ids).collect();
    assert_eq!(found.len(), 5);
    assert!(wanted.iter().all(|id| found.contains(id)));
}

#[tokio::test]
async fn a_wrong_search_is_refused() {
    let setting = Setting::new().await;
    let long = "x".repeat(501);
    for (query, fields) in [
        ("PayloadContains=", vec!["PayloadContains"]),
        (&*format!("PayloadContains={long}"), vec!["PayloadContains"]),
        (&*format!("PayloadPath={long}"), vec!["PayloadPath"]),
        ("PayloadPath=a[x]", vec!["PayloadPath"]),
        ("PayloadPath=a%2Bb", vec!["PayloadPath"]),
        ("PayloadValue=7", vec!["PayloadValue"]),
        ("PayloadContains=a&Pg=2", vec!["Pg"]),
        ("PayloadContains=a&CpOrd=id", vec!["CpOrd"]),
        ("PayloadContains=a&PayloadContains=a", vec!["PayloadContains"]),
    ] {
        let refused = setting.owner.get(&format!("/api/v1/events?{query}")).await.expect(400);
        assert_eq!(refused.wrong(), fields, "{query}");
    }
}
