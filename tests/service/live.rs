//! The live stream and the statistics, as a client sees them.

use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{
    Resilience, Retention, Tenant as TenantAggregate, TenantCommand, TenantFact, WebhookSecret,
};
use hooksentry::clock;
use hooksentry::event_store::{EventStore, LogNotifier, Metadata, StreamAppend};
use hooksentry::live::{Broadcaster, StreamItem};
use hooksentry::projector::Projector;
use reqwest::Response;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process, run};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::{WAIT_TIMEOUT, until};

async fn start(database: &TestDatabase) -> Process {
    Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await
}

/// A client that reads a stream.
struct Reader {
    response: Response,
    text: String,
    last_event_id: String,
}

#[derive(Debug, PartialEq)]
struct StreamEvent {
    name: String,
    data: Value,
}

impl Reader {
    /// Reads from a response, whose first block contains only a position.
    async fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut reader = Self { response, text: String::new(), last_event_id: String::new() };
        assert_eq!(
            reader.block().await.map(|event| event.is_none()),
            Some(true),
            "a position before any event"
        );
        reader
    }

    /// Returns the next block: an event, or none if it contains only a position. `None` at the end of the stream.
    async fn block(&mut self) -> Option<Option<StreamEvent>> {
        while !self.text.contains("\n\n") {
            let chunk =
                tokio::time::timeout(WAIT_TIMEOUT, self.response.chunk()).await.expect("something in time");
            let chunk = chunk.expect("a stream that is not broken")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        let (block, rest) = self.text.split_once("\n\n").expect("it was just found");
        let field = |name: &str| {
            let prefix = format!("{name}: ");
            block.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
        };
        let (id, name, data) = (field("id"), field("event"), field("data"));
        self.text = rest.to_owned();
        self.last_event_id = id.expect("an id");
        let event = name.zip(data);
        Some(event.map(|(name, data)| StreamEvent { name, data: data.parse().expect("JSON") }))
    }

    /// Returns the next event.
    async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some(event) = self.block().await? {
                return Some(event);
            }
        }
    }

    /// Returns the data of the next event, which must have this name and fact.
    async fn expect(&mut self, name: &str, fact: &str) -> Value {
        let event = self.next().await.expect("the stream continues");
        assert_eq!((event.name.as_str(), &event.data["fact"]), (name, &json!(fact)), "{event:?}");
        event.data
    }
}

#[tokio::test]
async fn a_notified_client_finds_the_change_and_can_resume_the_stream() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(200).await;
    let (tenant, other) = (Tenant::register(program.base()).await, Tenant::register(program.base()).await);
    let mut stream = Reader::of(tenant.stream(None).await).await;
    let mut other_stream = Reader::of(other.stream(None).await).await;

    let destination = tenant.destination(&receiver.url(), 5).await;
    let data = stream.expect("destination.created", "DestinationRegistered").await;
    assert_eq!((&data["id"], &data["status"]), (&json!(destination.id), &json!("Active")));
    let before_the_event = stream.last_event_id.clone();

    let event_id = tenant.ingest(&destination, &json!({ "number": 1 })).await;
    let data = stream.expect("event.created", "EventAccepted").await;
    assert_eq!((&data["id"], &data["status"]), (&json!(event_id), &json!("Pending")));
    assert_eq!(stream.expect("event.updated", "DeliveryStarted").await["status"], "Processing");
    assert_eq!(stream.expect("event.updated", "DeliveryAttempted").await["status"], "Succeeded");
    // The list is served by the read models alone.
    assert_eq!(tenant.count("Succeeded").await, 1);

    let mut resumed = Reader::of(tenant.stream(Some(&before_the_event)).await).await;
    for (name, fact) in [
        ("event.created", "EventAccepted"),
        ("event.updated", "DeliveryStarted"),
        ("event.updated", "DeliveryAttempted"),
    ] {
        assert_eq!(resumed.expect(name, fact).await["id"], json!(event_id));
    }
    assert_eq!(resumed.last_event_id, stream.last_event_id);

    // Changes of one tenant are not sent to another: its own change is the first one that it receives.
    other.resilience(3, 300).await;
    other_stream.expect("tenant.updated", "ResilienceChanged").await;

    let mut lost = Reader::of(tenant.stream(Some("18446744073709551615.1")).await).await;
    assert_eq!(lost.next().await.map(|event| event.name).as_deref(), Some("stream.reset"));
    for id in ["", "yesterday", "1.2.3"] {
        assert_eq!(tenant.stream(Some(id)).await.status(), 400, "{id}");
    }

    let stats = until("the delivery to be counted", async || {
        let stats = tenant.get(&format!("stats?DestinationId={}", destination.id)).await;
        (stats["total"]["succeeded"] == 1).then_some(stats)
    })
    .await;
    assert_eq!((&stats["total"]["accepted"], &stats["waiting"]), (&json!(1), &json!(0)));
    assert!(stats["total"]["p95TimeToDeliverMs"].is_u64());
    assert_eq!(other.get("stats?Interval=day").await["total"]["accepted"], 0);

    tenant.log_out().await;
    assert_eq!(stream.next().await, None);
    assert_eq!(resumed.next().await, None);
    // An open stream does not delay the end of the program.
    assert!(program.stop().await.success());
    assert_eq!(other_stream.next().await, None);
    database.discard().await;
}

#[tokio::test]
async fn a_slow_subscriber_receives_every_change_in_order_from_the_log() {
    // More than a channel holds.
    const RENAMES: usize = 700;
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let store = EventStore::new(pool.clone(), LogNotifier::within_process());
    let projector = Projector::new(pool.clone(), store.notifier().clone());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let live = Broadcaster::new(pool.clone(), store.notifier().clone(), &projector.projected(), stop.clone());
    tasks.spawn(projector.run(stop.clone()));
    let follower = live.clone();
    tasks.spawn(async move { follower.follow().await });

    let (tenant_id, session_id) = (TenantId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
    let metadata = Metadata::of_role(tenant_id, "test");
    let register = TenantCommand::Register {
        name: "Acme".to_owned(),
        owner: UserId(Uuid::from_u128(3)),
        resilience: Resilience::default(),
        retention: Retention::default(),
        webhook_secret: WebhookSecret {
            sealed: Sealed { data_key: Uuid::from_u128(4), ciphertext: String::new() },
            fingerprint: Fingerprint(String::new()),
        },
        at: clock::now(),
    };
    let registered =
        store.execute::<TenantAggregate>(tenant_id.0, register, &metadata).await.expect("a tenant");
    // There are no checkpoints before the projector has started.
    until("the read models to begin", async || live.subscribe(tenant_id, session_id, None).await.ok()).await;
    let mut slow = live.subscribe(tenant_id, session_id, registered.position).await.expect("a subscription");
    let mut quick = live.subscribe(tenant_id, session_id, registered.position).await.expect("a subscription");

    let renames: Vec<TenantFact> = (0..RENAMES)
        .map(|number| TenantFact::TenantRenamed { name: format!("Acme {number}"), at: clock::now() })
        .collect();
    let append = StreamAppend::new::<TenantAggregate>(tenant_id.0, 1, &renames, &metadata).expect("facts");
    let last = store.append(&[append]).await.expect("an append").expect("facts");
    for subscription in [&mut quick, &mut slow] {
        for _ in 0..RENAMES {
            let item =
                tokio::time::timeout(WAIT_TIMEOUT, subscription.next()).await.expect("something in time");
            let Some(StreamItem::Change(change)) = item.expect("the log can be read") else {
                panic!("not a change")
            };
            assert_eq!((change.name, change.fact.as_str()), ("tenant.updated", "TenantRenamed"));
        }
        assert_eq!(subscription.position(), last);
    }
    stop.cancel();
    assert_eq!(slow.next().await.expect("an end"), None);
    tasks.close();
    tasks.wait().await;
    pool.close().await;
    database.discard().await;
}

/// It resumes at a position before the suspension, whose fact does not end it again.
#[tokio::test]
async fn a_stream_ends_when_its_tenant_is_suspended_and_continues_after_the_resumption() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let tenant = Tenant::register(program.base()).await;
    let mut stream = Reader::of(tenant.stream(None).await).await;
    let before_the_suspension = stream.last_event_id.clone();
    let suspend = ["suspend-tenant", tenant.tenant_id(), "--reason", "spam"];
    run(&suspend, &database.url()).await.succeeded();
    assert_eq!(stream.next().await, None);
    assert_eq!(tenant.stream(Some(&before_the_suspension)).await.status(), 403);

    run(&["resume-tenant", tenant.tenant_id()], &database.url()).await.succeeded();
    let mut stream = Reader::of(tenant.stream(Some(&before_the_suspension)).await).await;
    tenant.destination("https://receiver.example.com/hooks", 5).await;
    stream.expect("destination.created", "DestinationRegistered").await;
    assert!(program.stop().await.success());
    database.discard().await;
}
