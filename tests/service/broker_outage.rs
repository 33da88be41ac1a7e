//! The broker of the running program fails and restarts, with or without its queues. All accepted webhooks
//! are delivered, and no process needs a restart.

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

/// Number of events between two steps.
const EVENTS_PER_STEP: usize = 100;

/// An installation of four processes that ingests webhooks continuously.
struct BusyInstallation {
    database: TestDatabase,
    processes: Vec<Process>,
    tenant: Tenant,
    receiver: Receiver,
    accepted: watch::Receiver<usize>,
    enough: CancellationToken,
    source: JoinHandle<HashSet<String>>,
}

impl BusyInstallation {
    async fn start(broker: &OwnBroker, queue_type: &str, republish_after: &str) -> Self {
        let database = TestDatabase::create().await;
        let urls = broker.nodes.iter().map(|node| node.url()).collect::<Vec<_>>().join(",");
        let launch = |roles: &str| {
            Launch::serve(roles, &database.url())
                .with("AMQP_URL", &urls)
                .with("HOOKSENTRY_LOG", "error")
                .with("HOOKSENTRY_QUEUE_TYPE", queue_type)
                // Jobs that do not start are published again after this time.
                .with("HOOKSENTRY_REPUBLISH_AFTER", republish_after)
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
        let goal = *accepted.borrow() + EVENTS_PER_STEP;
        accepted.wait_for(|count| *count >= goal).await.expect("a source that sends");
    }

    /// Waits until some more webhooks arrive at the receiver.
    async fn until_more_arrives(&self) {
        let goal = self.receiver.count() + EVENTS_PER_STEP;
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

    /// Stops ingesting, and checks that every accepted webhook is delivered.
    async fn end(self) {
        self.enough.cancel();
        let accepted = self.source.await.expect("the accepted webhooks");
        self.tenant.until_count("Succeeded", accepted.len()).await;
        let arrivals = self.receiver.arrivals();
        let arrived: HashSet<String> = arrivals.iter().map(|arrival| arrival.event_id().to_owned()).collect();
        assert_eq!(arrived, accepted);
        assert!(self.receiver.in_flight_max() <= 20);
        for process in self.processes {
            assert!(process.stop().await.success(), "no process was restarted");
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
async fn no_webhook_is_lost_when_the_broker_of_a_transient_queue_stops_dies_or_loses_it() {
    webhooks_survive_the_broker("transient", "hooksentry.transient-jobs").await;
}

#[tokio::test]
async fn no_webhook_is_lost_when_the_broker_of_a_quorum_queue_stops_dies_or_loses_it() {
    webhooks_survive_the_broker("quorum", "hooksentry.jobs").await;
}

async fn webhooks_survive_the_broker(queue_type: &str, jobs: &str) {
    let mut broker = OwnBroker::start(1).await;
    // A loss that is not noticed keeps its webhooks from being delivered.
    let busy = BusyInstallation::start(&broker, queue_type, "1h").await;
    busy.until_more_arrives().await;

    broker.nodes[0].stop().await.unwrap();
    busy.until_the_loss_is_noticed().await;
    busy.until_more_is_accepted().await;
    broker.nodes[0].start().await.unwrap();
    busy.until_more_arrives().await;

    broker.nodes[0].kill();
    busy.until_the_loss_is_noticed().await;
    busy.until_more_is_accepted().await;
    broker.nodes[0].start().await.unwrap();
    busy.until_more_arrives().await;

    // Several times: how a broker treats the consumers of a queue that is declared again depends on the
    // timing.
    for queue in [jobs, jobs, jobs, "hooksentry.parked"] {
        broker.nodes[0].control(&["delete_queue", queue]).await.unwrap();
        busy.until_more_arrives().await;
    }
    busy.end().await;
}

#[tokio::test]
async fn no_webhook_is_lost_when_a_cluster_loses_a_node() {
    let mut broker = OwnBroker::start(3).await;
    let busy = BusyInstallation::start(&broker, "quorum", "1s").await;
    busy.until_more_arrives().await;
    // A queue that was just declared may not be on all nodes yet.
    until("the queue to be on all nodes", async || {
        let queues = broker.nodes[1]
            .control(&["list_queues", "--quiet", "--no-table-headers", "online"])
            .await
            .unwrap();
        // Classic queues, such as those of announced losses, have no such list.
        let mut replicated = queues.lines().filter(|online| online.contains('@')).peekable();
        let is_declared = replicated.peek().is_some();
        (is_declared && replicated.all(|online| online.matches('@').count() == 3)).then_some(())
    })
    .await;

    // The node of all connections, which leads the queue because the queue was declared there.
    broker.nodes[0].kill();
    busy.until_more_is_accepted().await;
    busy.until_more_arrives().await;
    broker.nodes[0].start().await.unwrap();
    broker.nodes[1].kill();
    busy.until_more_arrives().await;
    busy.end().await;
}
