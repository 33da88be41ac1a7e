//! Many destinations, some of which hang or fail: the others are not affected, no concurrency limit is
//! exceeded, and every event ends in the status that follows from its destination's responses.
//!
//! The default is [`EVENTS_DEFAULT`] events; `HOOKSENTRY_TEST_EVENTS=10000` is the full test.

use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::json;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

const EVENTS_DEFAULT: usize = 2_000;
const DESTINATIONS: usize = 50;
const HANGING: usize = 5;
const FAILING: usize = 5;
const HEALTHY: usize = DESTINATIONS - HANGING - FAILING;
/// Limits of concurrent requests to a destination. A hanging one uses all of its limit.
const HEALTHY_LIMIT: u32 = 10;
const HANGING_LIMIT: u32 = 100;
const FAILING_LIMIT: u32 = 20;
const DELIVERY_TIMEOUT: &str = "5s";
const BREAKER_THRESHOLD: usize = 5;
const CONNECTIONS: usize = 16;

struct Target {
    receiver: Receiver,
    destination: Destination,
    limit: u32,
}

impl Target {
    async fn new(tenant: &Tenant, status: u16, limit: u32) -> Self {
        let receiver = Receiver::answering(status).await;
        let destination = tenant.destination(&receiver.url(), limit).await;
        Self { receiver, destination, limit }
    }

    fn check_limit(&self) {
        let seen = self.receiver.in_flight_max();
        assert!(seen <= self.limit as usize, "{seen} requests in flight, {} are allowed", self.limit);
    }

    /// Returns the number of its events with a status.
    async fn count(&self, tenant: &Tenant, status: &str) -> usize {
        let path = format!("events?Qt=1&DestinationUrlId={}&Status={status}", self.destination.id);
        usize::try_from(tenant.get(&path).await["total"].as_u64().expect("a total")).expect("a count")
    }
}

/// The processes of an installation, with two dispatchers and two workers.
struct Installation {
    database: TestDatabase,
    broker: SharedBroker,
    api: Process,
    dispatchers: Vec<Process>,
    workers: Vec<Process>,
}

impl Installation {
    async fn start() -> Self {
        let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
        let api = launch("api,projector", &database, &broker).ready().await;
        Self { database, broker, api, dispatchers: vec![], workers: vec![] }
    }

    async fn deliver(&mut self) {
        for (roles, processes) in [("dispatcher", &mut self.dispatchers), ("worker", &mut self.workers)] {
            let launch = || launch(roles, &self.database, &self.broker).ready();
            processes.extend(<[Process; 2]>::from(tokio::join!(launch(), launch())));
        }
    }

    async fn stop(self) {
        for process in self.workers.into_iter().chain(self.dispatchers).chain([self.api]) {
            assert!(process.stop().await.success());
        }
        self.database.discard().await;
    }
}

fn launch(roles: &str, database: &TestDatabase, broker: &SharedBroker) -> Launch {
    Launch::serve(roles, &database.url())
        .through(broker)
        .with("HOOKSENTRY_DELIVERY_TIMEOUT", DELIVERY_TIMEOUT)
        .with("HOOKSENTRY_BREAKER_THRESHOLD", &BREAKER_THRESHOLD.to_string())
        .with("HOOKSENTRY_RETRY_BASE", "50ms")
        .with("HOOKSENTRY_RETRY_FACTOR", "1")
}

/// Ingests `each` events for every target, those of the first target first.
async fn ingest(tenant: &Tenant, targets: &[Target], each: usize) {
    let events = targets.iter().flat_map(|target| std::iter::repeat_n(&target.destination, each));
    stream::iter(events.enumerate())
        .for_each_concurrent(CONNECTIONS, async |(number, destination)| {
            tenant.ingest(destination, &json!({ "number": number })).await;
        })
        .await;
}

/// Waits until all events have arrived at all targets, and returns the time between the first and the last
/// arrival.
async fn until_delivered(healthy: &[Target], each: usize) -> Duration {
    until("every event to arrive at the healthy destinations", async || {
        healthy.iter().all(|target| target.receiver.count() >= each).then_some(())
    })
    .await;
    let times: Vec<Instant> =
        healthy.iter().flat_map(|target| target.receiver.arrivals()).map(|arrival| arrival.at).collect();
    let (first, last) = (times.iter().min(), times.iter().max());
    first.zip(last).map(|(first, last)| *last - *first).expect("arrivals")
}

/// Measures the delivery to healthy destinations without any others.
async fn without_the_others(each: usize) -> Duration {
    let mut installation = Installation::start().await;
    let tenant = Tenant::register(installation.api.base()).await;
    let mut healthy = Vec::new();
    for _ in 0..HEALTHY {
        healthy.push(Target::new(&tenant, 200, HEALTHY_LIMIT).await);
    }
    ingest(&tenant, &healthy, each).await;
    installation.deliver().await;
    let took = until_delivered(&healthy, each).await;
    healthy.iter().for_each(Target::check_limit);
    installation.stop().await;
    took
}

/// Creates the destinations; those that hang or fail come first, so that their jobs are at the head of any
/// queue.
async fn create_targets(tenant: &Tenant) -> Vec<Target> {
    let mut targets = Vec::with_capacity(DESTINATIONS);
    for _ in 0..HANGING {
        let target = Target::new(tenant, 200, HANGING_LIMIT).await;
        target.receiver.hold();
        targets.push(target);
    }
    for _ in 0..FAILING {
        targets.push(Target::new(tenant, 500, FAILING_LIMIT).await);
    }
    for _ in 0..HEALTHY {
        targets.push(Target::new(tenant, 200, HEALTHY_LIMIT).await);
    }
    targets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destinations_that_hang_or_fail_do_not_hold_up_the_others() {
    let events = std::env::var("HOOKSENTRY_TEST_EVENTS");
    let events = events.map_or(EVENTS_DEFAULT, |events| events.parse().expect("a number of events"));
    let each = events / DESTINATIONS;
    let alone = without_the_others(each).await;

    let mut installation = Installation::start().await;
    let tenant = Tenant::register(installation.api.base()).await;
    // No destination is probed during the test.
    tenant.resilience(2, 3_600).await;
    let targets = create_targets(&tenant).await;
    ingest(&tenant, &targets, each).await;
    let (hanging, rest) = targets.split_at(HANGING);
    let (failing, healthy) = rest.split_at(FAILING);

    installation.deliver().await;
    let mixed = until_delivered(healthy, each).await;
    // Printed for comparison by people: the times depend on the load of the machine.
    let _ = writeln!(
        std::io::stderr(),
        "{events} events over {DESTINATIONS} destinations: delivery to the {HEALTHY} healthy ones took \
         {alone:.2?} without others, and {mixed:.2?} with {HANGING} that hang and {FAILING} that fail"
    );
    for target in healthy {
        let arrivals = target.receiver.arrivals();
        let ids: HashSet<&str> = arrivals.iter().map(|arrival| arrival.event_id()).collect();
        assert_eq!((ids.len(), arrivals.len()), (each, each), "each event once");
    }

    // The others are suspended, and their events wait for the circuit breaker.
    for target in hanging.iter().chain(failing) {
        let path = format!("destinations/{}", target.destination.id);
        until("the destination to be suspended without attempts in flight", async || {
            let suspended = tenant.get(&path).await["status"] == "Suspended";
            (suspended && target.count(&tenant, "Processing").await == 0).then_some(())
        })
        .await;
    }
    let mut given_up = 0;
    for target in hanging.iter().chain(failing) {
        let critical = target.count(&tenant, "CriticalFailure").await;
        let waiting = target.count(&tenant, "Pending").await + target.count(&tenant, "WaitingRetry").await;
        assert_eq!(critical + waiting, each);
        // The attempts in flight when the breaker opened, and those that earlier failures had made possible.
        let attempts_max = target.limit as usize + BREAKER_THRESHOLD - 1;
        assert!(target.receiver.count() <= attempts_max, "{} attempts", target.receiver.count());
        given_up += critical;
    }

    // When they work again, all other events are delivered.
    for target in hanging.iter().chain(failing) {
        target.receiver.answer(200);
        target.receiver.release();
        tenant.change(&target.destination, json!({ "status": "active" })).await;
    }
    tenant.until_count("Succeeded", each * DESTINATIONS - given_up).await;
    assert_eq!(tenant.count("CriticalFailure").await, given_up);
    targets.iter().for_each(Target::check_limit);
    installation.stop().await;
}

/// What a tenant that is alone may have on the queue must not fill what the only worker receives from the broker.
#[tokio::test]
async fn jobs_that_wait_for_attempts_that_hang_do_not_keep_those_of_others_from_the_worker() {
    let (database, broker) = (TestDatabase::create().await, SharedBroker::connect().await);
    let launch = |roles: &str| {
        Launch::serve(roles, &database.url())
            .through(&broker)
            .with("HOOKSENTRY_DELIVERY_TIMEOUT", "600s")
            .with("HOOKSENTRY_WORKER_CONCURRENCY", "20")
            .ready()
    };
    let api = launch("api,projector").await;
    let (slow, quick) = (Tenant::register(api.base()).await, Tenant::register(api.base()).await);
    let (hanging, receiver) = (Receiver::answering(200).await, Receiver::answering(200).await);
    hanging.hold();
    let to_hanging = slow.destination(&hanging.url(), 1_000).await;
    stream::iter(0..600)
        .for_each_concurrent(CONNECTIONS, async |number| {
            slow.ingest(&to_hanging, &json!({ "number": number })).await;
        })
        .await;
    let (worker, dispatcher) = tokio::join!(launch("worker"), launch("dispatcher"));
    until("the attempts of one tenant hang", async || (hanging.in_flight() == 16).then_some(())).await;

    let destination = quick.destination(&receiver.url(), 10).await;
    quick.ingest(&destination, &json!({ "number": 1 })).await;
    quick.until_count("Succeeded", 1).await;
    assert_eq!(hanging.in_flight(), 16, "they still hang");
    for process in [api, dispatcher] {
        assert!(process.stop().await.success());
    }
    worker.kill().await;
    database.discard().await;
}
