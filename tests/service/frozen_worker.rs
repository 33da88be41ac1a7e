//! A worker whose packets to the database are lost while its connections stay open.

use std::collections::HashSet;

use fault_proxy::{Direction, Fault, FaultProxy, Scope};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tokio::net::lookup_host;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::until;

/// The broker does not notice: heartbeats go on. No job is published again while the test runs.
#[tokio::test]
async fn a_worker_without_database_leaves_its_jobs_to_the_others() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let direct: PgConnectOptions = database.url().parse().expect("a URL");
    let proxy = match direct.get_socket() {
        Some(folder) => FaultProxy::start(&*folder.join(format!(".s.PGSQL.{}", direct.get_port()))).await,
        None => {
            let mut addresses = lookup_host((direct.get_host(), direct.get_port())).await.expect("a host");
            FaultProxy::start(addresses.next().expect("an address")).await
        }
    };
    let proxy = proxy.expect("a proxy");
    let (user, name) = (direct.get_username(), direct.get_database().expect("a name"));
    let url = format!("postgres://{user}@{}/{name}?sslmode=disable", proxy.address());

    let launch = |roles: &str, url: &str| {
        Launch::serve(roles, url).through(&broker).with("HOOKSENTRY_REPUBLISH_AFTER", "1h").ready()
    };
    let others = launch("api,projector,dispatcher", &database.url()).await;
    let worker = launch("worker", &database.url()).await;
    let frozen = launch("worker", &url).await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(others.base()).await;
    let destination = tenant.destination(&receiver.url(), 400).await;
    proxy.set(Scope::All, Direction::Both, Fault::Swallow);

    let mut accepted = HashSet::new();
    for number in 0..300 {
        accepted.insert(tenant.ingest(&destination, &json!({ "number": number })).await);
    }
    until("every event to arrive", async || {
        let arrived: HashSet<String> =
            receiver.arrivals().iter().map(|arrival| arrival.event_id().to_owned()).collect();
        accepted.is_subset(&arrived).then_some(())
    })
    .await;
    proxy.heal();
    frozen.kill().await;
    for process in [others, worker] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}
