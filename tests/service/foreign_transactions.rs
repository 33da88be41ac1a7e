//! Transactions of other programs, which hold back the readers of the log.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::harness::postgres::OwnServer;
use crate::harness::process::Launch;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::{client, until};

#[tokio::test]
async fn a_transaction_of_another_database_delays_nothing_and_one_of_ours_is_named() {
    let server = OwnServer::start().await;
    let (database, elsewhere) = (server.create_database().await, server.create_database().await);
    let mut other = PgConnection::connect(&elsewhere.url()).await.expect("another database");
    let mut transaction = other.begin().await.expect("a transaction");
    sqlx::query("CREATE TABLE gadgets ()").execute(&mut *transaction).await.expect("a table");

    // The dispatcher takes the lead and delivers while the transaction is open.
    let service = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    tenant.ingest(&destination, &json!({ "number": 1 })).await;
    tenant.until_count("Succeeded", 1).await;
    transaction.rollback().await.expect("a rollback");

    let mut ours = PgConnection::connect(&database.url()).await.expect("the database");
    sqlx::query("SET application_name = 'forgotten'").execute(&mut ours).await.expect("a name");
    let mut transaction = ours.begin().await.expect("a transaction");
    sqlx::query("CREATE TABLE gadgets ()").execute(&mut *transaction).await.expect("a table");
    tenant.ingest(&destination, &json!({ "number": 2 })).await;
    let ready = format!("{}/health/ready", service.base());
    until("the transaction to be named", async || {
        let health: Value = client().get(&ready).send().await.ok()?.json().await.ok()?;
        let named = health["readersHeldBackBy"].as_str()?.contains("forgotten");
        (named && health["status"] == "degraded").then_some(())
    })
    .await;
    let metrics = client().get(format!("{}/metrics", service.base())).send().await.expect("metrics");
    let metrics = metrics.text().await.expect("text");
    let held_back = |reader: &str| {
        let prefix = format!("hooksentry_readers_held_back_seconds{{reader=\"{reader}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        line.and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or_default()
    };
    assert!(held_back("dispatcher") > 0.0 && held_back("projector") > 0.0, "{metrics}");
    transaction.rollback().await.expect("a rollback");
    tenant.until_count("Succeeded", 2).await;
    assert!(service.stop().await.success());
}
