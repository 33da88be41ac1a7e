//! Erasures of many payloads, carried out in the background.

use futures::future::join_all;
use serde_json::{Value, json};

use super::types;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process, run};
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

const ERASURES: &str = "/api/v1/erasures";

struct Installation {
    database: TestDatabase,
    process: Process,
    tenant: Tenant,
    destination: Destination,
}

impl Installation {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let process = Launch::serve("api,projector", &database.url()).ready().await;
        let tenant = Tenant::register(process.base()).await;
        let destination = tenant.destination("https://receiver.example.com/hooks", 5).await;
        Self { database, process, tenant, destination }
    }

    async fn accept(&self, destination: &Destination, count: usize) -> Vec<String> {
        let mut ids = vec![];
        // Fewer at once than the service admits of one tenant.
        while ids.len() < count {
            let number = ids.len()..count.min(ids.len() + 50);
            let sent = number
                .map(async |number| self.tenant.ingest(destination, &json!({ "number": number })).await);
            ids.extend(join_all(sent).await);
        }
        until("all events to be listed", async || {
            let path = format!("events?Qt=1&DestinationUrlId={}", destination.id);
            (self.tenant.get(&path).await["total"] == count).then_some(())
        })
        .await;
        ids
    }

    async fn request(&self, body: &Value) -> String {
        let requested = self.tenant.owner().post(ERASURES, body).await.expect(202);
        let id = requested.text_of("id");
        assert_eq!(requested.header("location"), format!("{ERASURES}/{id}"));
        id
    }

    async fn until_completed(&self, id: &str) -> Value {
        until("the erasure to be completed", async || {
            let erasure = self.tenant.get(&format!("erasures/{id}")).await;
            erasure["completedAt"].is_string().then_some(erasure)
        })
        .await
    }

    async fn has_payload(&self, id: &str) -> bool {
        self.tenant.get(&format!("events/{id}")).await["payload"].is_string()
    }

    async fn stop(self) {
        assert!(self.process.stop().await.success());
        self.database.discard().await;
    }
}

#[tokio::test]
async fn the_payloads_of_a_destination_are_erased_and_no_others() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let other = tenant.destination("https://other.example.com/hooks", 5).await;
    let (theirs, others) = (installation.accept(destination, 5).await, installation.accept(&other, 2).await);
    let body = json!({ "scope": "Events", "destinationUrlId": destination.id, "reason": "Request 7" });
    let mut dry = body.clone();
    dry["dryRun"] = json!(true);
    let dry = tenant.owner().post(ERASURES, &dry).await.expect(200).body;
    assert_eq!((&dry["id"], &dry["events"], &dry["erased"]), (&Value::Null, &json!(5), &json!(0)));

    let id = installation.request(&body).await;
    let erasure = installation.until_completed(&id).await;
    assert_eq!((&erasure["events"], &erasure["erased"], &erasure["kept"]), (&json!(5), &json!(5), &json!(0)));
    assert_eq!(erasure["scope"]["destinationUrlId"], json!(destination.id));
    for event in &theirs {
        let shown = tenant.get(&format!("events/{event}")).await;
        assert_eq!((&shown["payload"], &shown["erasure"]["reason"]), (&Value::Null, &json!("Request 7")));
        assert_eq!(shown["erasure"]["requestedBy"], json!(tenant.owner().id));
    }
    for event in &others {
        assert!(installation.has_payload(event).await);
    }
    // Another tenant learns nothing.
    let stranger = Tenant::register(installation.process.base()).await;
    stranger.owner().get(&format!("{ERASURES}/{id}")).await.expect(403);
    installation.stop().await;
}

#[tokio::test]
async fn an_erasure_that_fails_does_not_keep_the_next_one_from_running() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, database, .. } = &installation;
    let other = tenant.destination("https://other.example.com/hooks", 5).await;
    let (failing, next) = (installation.accept(destination, 1).await, installation.accept(&other, 1).await);
    let pool = database.pool().await;
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a damaged page'; END $$;
         CREATE TRIGGER refuse BEFORE DELETE ON payloads FOR EACH ROW
         WHEN (old.event_id = '{}') EXECUTE FUNCTION refuse()",
        failing[0]
    );
    sqlx::raw_sql(&refuse).execute(&pool).await.expect("a trigger");
    let of = |destination: &Destination| json!({ "scope": "Events", "destinationUrlId": destination.id, "reason": "Request 7" });
    let first = installation.request(&of(destination)).await;
    let second = installation.request(&of(&other)).await;
    installation.until_completed(&second).await;
    assert!(!installation.has_payload(&next[0]).await);
    assert!(installation.has_payload(&failing[0]).await);
    sqlx::raw_sql("DROP TRIGGER refuse ON payloads").execute(&pool).await.expect("no trigger");
    installation.until_completed(&first).await;
    assert!(!installation.has_payload(&failing[0]).await);
    pool.close().await;
    installation.stop().await;
}

#[tokio::test]
async fn an_erasure_leaves_held_destinations_out_and_a_held_tenant_alone() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let held = tenant.destination("https://held.example.com/hooks", 5).await;
    let (free, kept) = (installation.accept(destination, 2).await, installation.accept(&held, 3).await);
    let hold = async |path: &str, status| {
        let path = format!("/api/v1/{path}");
        tenant.owner().post(&path, &json!({ "reason": "Case 4711" })).await.expect(status)
    };
    hold(&format!("destinations/{}/legal-hold", held.id), 200).await;
    let of_held = json!({ "scope": "Events", "destinationUrlId": held.id, "reason": "Request 7" });
    assert_eq!(tenant.owner().post(ERASURES, &of_held).await.expect(409).problem(), "legal-hold");

    let everything = json!({ "scope": "Tenant", "reason": "Request 7" });
    let id = installation.request(&everything).await;
    let erasure = installation.until_completed(&id).await;
    assert_eq!((&erasure["events"], &erasure["erased"], &erasure["kept"]), (&json!(5), &json!(2), &json!(3)));
    assert!(!installation.has_payload(&free[0]).await && installation.has_payload(&kept[0]).await);

    hold(&format!("destinations/{}/legal-hold/lift", held.id), 204).await;
    hold(&format!("tenants/{}/legal-hold", tenant.tenant_id()), 200).await;
    assert_eq!(tenant.owner().post(ERASURES, &everything).await.expect(409).problem(), "legal-hold");
    installation.stop().await;
}

#[tokio::test]
async fn what_an_erasure_is_for_is_said_explicitly() {
    let installation = Installation::start().await;
    let Installation { tenant, .. } = &installation;
    for wrong in [
        json!({ "scope": "Events", "reason": "a" }),
        json!({ "scope": "Tenant", "status": "Succeeded", "reason": "a" }),
    ] {
        assert_eq!(tenant.owner().post(ERASURES, &wrong).await.expect(400).wrong(), ["scope"]);
    }
    let admin = tenant.owner().colleague("Admin").await;
    let everything = json!({ "scope": "Tenant", "reason": "a" });
    assert_eq!(admin.post(ERASURES, &everything).await.expect(403).problem(), "role-forbids");
    admin
        .post(ERASURES, &json!({ "scope": "Events", "status": "Cancelled", "reason": "a" }))
        .await
        .expect(202);
    installation.stop().await;
}

#[tokio::test]
async fn an_erasure_continues_after_a_kill_and_erases_each_payload_once() {
    const EVENTS: usize = 1_000;
    let mut installation = Installation::start().await;
    let events = installation.accept(&installation.destination, EVENTS).await;
    let everything = json!({ "scope": "Tenant", "reason": "Request 7" });
    let id = installation.request(&everything).await;
    let erased = until("some payloads to be erased", async || {
        let erased = installation.tenant.get(&format!("erasures/{id}")).await["erased"].as_u64()?;
        (erased > 0).then_some(erased)
    })
    .await;
    installation.process.kill().await;
    assert!(erased < EVENTS as u64, "it was killed in the middle");

    let process = Launch::serve("api,projector", &installation.database.url()).ready().await;
    installation.tenant = installation.tenant.at(process.base());
    installation.process = process;
    let erasure = installation.until_completed(&id).await;
    assert_eq!(erasure["erased"], EVENTS);
    let pool = installation.database.pool().await;
    let payloads: i64 =
        sqlx::query_scalar("SELECT count(*) FROM payloads").fetch_one(&pool).await.expect("a number");
    let facts: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT aggregate_id) FROM events WHERE event_type = 'PayloadErased'",
    )
    .fetch_one(&pool)
    .await
    .expect("numbers");
    assert_eq!((payloads, facts), (0, (EVENTS as i64, EVENTS as i64)));
    let history = installation.tenant.get(&format!("events/{}/history", events[0])).await;
    assert_eq!(types(&history), ["EventAccepted", "Cancelled", "PayloadErased"]);
    // Read models equal the fold of the log.
    let url = installation.database.url();
    pool.close().await;
    run(&["verify-projections"], &url).await.succeeded();
    installation.stop().await;
}

#[tokio::test]
async fn the_operator_places_a_tenant_under_a_hold_and_lifts_it() {
    let installation = Installation::start().await;
    let event = installation.accept(&installation.destination, 1).await.remove(0);
    let tenant = installation.tenant.tenant_id();
    let url = installation.database.url();
    let command = async |name: &str, tenant: &str| run(&[name, tenant, "--reason", "Case 4711"], &url).await;
    let unknown = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";
    command("place-legal-hold", unknown).await.failed_with(1, &["no tenant has the id"]);
    command("place-legal-hold", tenant).await.succeeded();
    command("place-legal-hold", tenant).await.failed_with(1, &["there is a legal hold already"]);
    let shown = installation.tenant.get(&format!("tenants/{tenant}")).await;
    assert_eq!(shown["legalHold"]["reason"], "Case 4711");
    let erase = async || {
        let path = format!("/api/v1/events/{event}/erase");
        installation.tenant.owner().post(&path, &json!({ "reason": "Request 7" })).await
    };
    assert_eq!(erase().await.expect(409).problem(), "legal-hold");
    let said = command("lift-legal-hold", tenant).await.succeeded().output;
    assert!(said.contains("is lifted"), "{said}");
    let said = command("lift-legal-hold", tenant).await.succeeded().output;
    assert!(said.contains("was not under a legal hold"), "{said}");
    erase().await.expect(200);
    installation.stop().await;
}
