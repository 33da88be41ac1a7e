//! The broker goes away under the running program and comes back, whole or with nothing in it. What was accepted
//! is delivered, and no process needs a restart.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::rabbitmq::OwnBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::{client, until};

/// Events that arrive between one thing and the next.
const SOME: usize = 100;

/// The program as four processes, with webhooks coming in all the time.
struct Busy {
    database: TestDatabase,
    processes: Vec<Process>,
    tenant: Tenant,
    receiver: Receiver,
    accepted: watch::Receiver<usize>,
    enough: CancellationToken,
    source: JoinHandle<HashSet<String>>,
}

impl Busy {
    async fn start(broker: &OwnBroker) -> Self {
        let database = TestDatabase::create().await;
        let urls = broker.nodes.iter().map(|node| node.url()).collect::<Vec<_>>().join(",");
        let launch = |roles: &str| {
            Launch::serve(roles, &database.url())
                .with("AMQP_URL", &urls)
                .with("HOOKSENTRY_LOG", "error")
                // What the broker loses is missed after this time.
                .with("HOOKSENTRY_REPUBLISH_AFTER", "1s")
                .ready()
        };
        let (api, dispatcher, first, second) =
            tokio::join!(launch("api,projector"), launch("dispatcher"), launch("worker"), launch("worker"));
        let tenant = Tenant::register(api.base()).await;
        let receiver = Receiver::answering(200).await;
        let destination = tenant.destination(&receiver.url(), 20).await;
        let (count, accepted) = watch::channel(0);
        let enough = CancellationToken::new();
        let source = TaskTracker::new().spawn(send_until(enough.clone(), tenant.clone(), destination, count));
        let processes = vec![api, dispatcher, first, second];
        Self { database, processes, tenant, receiver, accepted, enough, source }
    }

    /// Waits until some more webhooks are accepted, which needs no broker.
    async fn until_more_is_accepted(&self) {
        let mut accepted = self.accepted.clone();
        let goal = *accepted.borrow() + SOME;
        accepted.wait_for(|count| *count >= goal).await.expect("a source that sends");
    }

    /// Waits until some more webhooks arrive at the receiver.
    async fn until_more_arrives(&self) {
        let goal = self.receiver.count() + SOME;
        until("webhooks to arrive", async || (self.receiver.count() >= goal).then_some(())).await;
    }

    /// Waits until the dispatcher has noticed that it has no broker.
    async fn until_the_loss_is_noticed(&self) {
        let url = format!("{}/health/ready", self.processes[1].base());
        until("the dispatcher to miss the broker", async || {
            let health = client().get(&url).send().await.ok()?.text().await.ok()?;
            health.contains("not connected").then_some(())
        })
        .await;
    }

    /// Ends the stream of webhooks: each that was accepted is delivered, and nothing is stuck.
    async fn end(self) {
        self.enough.cancel();
        let accepted = self.source.await.expect("a source that got its answers");
        self.tenant.until_count("Succeeded", accepted.len()).await;
        let arrivals = self.receiver.arrivals();
        let arrived: HashSet<String> = arrivals.iter().map(|arrival| arrival.event_id().to_owned()).collect();
        assert_eq!(arrived, accepted);
        assert!(self.receiver.in_flight_max() <= 20);
        for process in self.processes {
            assert!(process.stop().await.success(), "it is the process that was started");
        }
        self.database.discard().await;
    }
}

/// Sends webhooks one after the other, each of which must be accepted.
async fn send_until(
    enough: CancellationToken,
    tenant: Tenant,
    destination: Destination,
    count: watch::Sender<usize>,
) -> HashSet<String> {
    let (tenant, destination) = (Arc::new(tenant), Arc::new(destination));
    let mut accepted = HashSet::new();
    while !enough.is_cancelled() {
        accepted.insert(tenant.ingest(&destination, &json!({ "number": accepted.len() })).await);
        count.send_replace(accepted.len());
    }
    accepted
}

#[tokio::test]
async fn a_broker_that_stops_dies_or_loses_its_queues_costs_no_webhook() {
    let mut broker = OwnBroker::start(1).await;
    let busy = Busy::start(&broker).await;
    busy.until_more_arrives().await;

    broker.nodes[0].stop().await;
    busy.until_the_loss_is_noticed().await;
    busy.until_more_is_accepted().await;
    broker.nodes[0].start().await;
    busy.until_more_arrives().await;

    broker.nodes[0].kill();
    busy.until_the_loss_is_noticed().await;
    busy.until_more_is_accepted().await;
    broker.nodes[0].start().await;
    busy.until_more_arrives().await;

    // Several times: what a broker does with the consumers of a queue that comes back depends on the moment.
    for queue in ["hooksentry.jobs", "hooksentry.jobs", "hooksentry.jobs", "hooksentry.parked"] {
        broker.nodes[0].control(&["delete_queue", queue]);
        busy.until_more_arrives().await;
    }
    busy.end().await;
}

#[tokio::test]
async fn a_cluster_that_loses_a_node_costs_no_webhook() {
    let mut broker = OwnBroker::start(3).await;
    let busy = Busy::start(&broker).await;
    busy.until_more_arrives().await;
    // A queue that was just declared may not be on all nodes yet.
    until("the queue to be on all nodes", async || {
        let queues = broker.nodes[1].control(&["list_queues", "--quiet", "--no-table-headers", "online"]);
        queues.lines().all(|online| online.matches('@').count() == 3).then_some(())
    })
    .await;

    // The node that all connections lead to, and that leads the queue because it was declared there.
    broker.nodes[0].kill();
    busy.until_more_is_accepted().await;
    busy.until_more_arrives().await;
    broker.nodes[0].start().await;
    broker.nodes[1].kill();
    busy.until_more_arrives().await;
    busy.end().await;
}
