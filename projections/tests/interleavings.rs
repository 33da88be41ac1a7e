//! Property: a log folded in any batches, with any repetitions, results in the same rows as folded fact by
//! fact. The aggregates decide the facts of these logs on random commands.

use std::ops::Range;

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::attempt_outcome::Outcome;
use aggregates::destination::{AuthChange, AuthType, Destination, DestinationCommand};
use aggregates::fact::Fact;
use aggregates::ids::{
    ApiKeyId, DestinationId, InviteId, PortalLinkId, SenderId, SessionId, UserId, WebhookEventId,
};
use aggregates::invite::{Invite, InviteCommand, Inviter};
use aggregates::portal_link::{PortalAccess, PortalLink, PortalLinkCommand};
use aggregates::role::{Role, UserStatus};
use aggregates::second_factor::SecondFactorCommand;
use aggregates::sender::{Sender, SenderCommand};
use aggregates::session::{Closing, Session, SessionCommand};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand};
use aggregates::user::{User, UserCommand};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventFact};
use aggregates::{Decide, Facts};
use aggregates_testing::{accepted, attempted, started};
use chrono::{DateTime, Utc};
use projections::{LoggedFact, Projection};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::given::{ACME, IntoFact, IntoUuid, Log, at, auth, hash, id, sealed, secret, tokens};
use crate::rows;

/// Number of cases; each takes up to a second.
const CASES: u32 = 32;
/// Streams of each aggregate: few, so that a batch has several facts of one.
const STREAMS: usize = 2;

/// A command to a stream of an aggregate, by numbers.
#[derive(Clone, Copy, Debug)]
struct Step {
    aggregate: u8,
    stream: usize,
    command: u8,
}

/// A log, and the batches in which it is folded.
#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    deliveries: Vec<Delivery>,
}

/// A batch.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    /// The next facts, preceded by some that were folded before.
    Next { facts: usize, repeated: usize },
    /// Only facts that were folded before.
    Again { facts: usize, back: usize },
}

fn case() -> impl Strategy<Value = Case> {
    let step = (0..13u8, 0..STREAMS, 0..10u8).prop_map(|(aggregate, stream, command)| Step {
        aggregate,
        stream,
        command,
    });
    let delivery = prop_oneof![
        (1..15usize, prop_oneof![2 => Just(0usize), 1 => 0..20usize])
            .prop_map(|(facts, repeated)| Delivery::Next { facts, repeated }),
        (1..8usize, 1..30usize).prop_map(|(facts, back)| Delivery::Again { facts, back }),
    ];
    (vec(step, 60..200), vec(delivery, 4..20)).prop_map(|(steps, deliveries)| Case { steps, deliveries })
}

/// A log, and the states of the aggregates at its end.
#[derive(Default)]
struct World {
    log: Log,
    tenant: Tenant,
    users: [User; STREAMS],
    sessions: [Session; STREAMS],
    invites: [Invite; STREAMS],
    api_keys: [ApiKey; STREAMS],
    portal_links: [PortalLink; STREAMS],
    destinations: [Destination; STREAMS],
    senders: [Sender; STREAMS],
    events: [WebhookEvent; STREAMS],
    clock: i64,
}

/// Adds the facts of a command to the log. Refused commands add none.
fn run<A: Decide>(log: &mut Log, aggregate: &mut A, stream: impl IntoUuid + Copy, command: A::Command)
where
    A::Event: Facts + IntoFact,
{
    for fact in aggregate.decide(command).unwrap_or_default() {
        aggregate.apply(fact.clone());
        log.add(ACME, stream, fact);
    }
}

impl World {
    /// Registers the tenant and the destinations, which the other commands need.
    fn new() -> Self {
        let mut world = Self::default();
        let register = TenantCommand::Register {
            name: "Acme".to_owned(),
            owner: id(1),
            resilience: Resilience::default(),
            retention: Retention::default(),
            webhook_secret: secret("first"),
            at: at(0),
        };
        run(&mut world.log, &mut world.tenant, ACME, register);
        for stream in 0..STREAMS {
            world.destination(stream, 0);
        }
        world
    }

    /// Counts the facts of webhook events of a kind.
    fn count(&self, of_kind: impl Fn(&WebhookEventFact) -> bool) -> i64 {
        let facts = self.log.facts.iter();
        let counted =
            facts.filter(|logged| matches!(&logged.fact, Fact::WebhookEvent(fact) if of_kind(fact)));
        counted.count().try_into().unwrap()
    }

    fn step(&mut self, step: Step) {
        self.clock += 1;
        let (stream, command) = (step.stream, step.command);
        match step.aggregate {
            0 => self.tenant(command),
            1 | 2 => self.user(stream, command),
            3 => self.session(stream, command),
            4 => self.invite(stream, command),
            5 => self.api_key(stream, command),
            6 | 7 => self.destination(stream, command),
            8 => self.sender(stream, command),
            9 => self.portal_link(stream, command),
            _ => self.event(stream, command),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        at(self.clock)
    }

    /// Returns a text that is unique in the log.
    fn unique(&self, what: &str, stream: usize) -> String {
        format!("{what} {stream} {}", self.clock)
    }

    fn tenant(&mut self, command: u8) {
        let at = self.now();
        let command = match command {
            0 => TenantCommand::Suspend { reason: self.unique("reason", 0), at },
            1 => TenantCommand::Resume { at },
            2 => TenantCommand::Rename { name: self.unique("Acme", 0), at },
            3..=5 => TenantCommand::ChangeResilience {
                resilience: Resilience { max_attempts: 1 + u32::from(command), circuit_breaker_timer: 60 },
                at,
            },
            _ => TenantCommand::RegenerateWebhookSecret {
                webhook_secret: secret(&self.unique("secret", 0)),
                previous_signs_until: (command > 7).then_some(at),
                at,
            },
        };
        run(&mut self.log, &mut self.tenant, ACME, command);
    }

    fn user(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let email_hmac_sha256 = self.unique("hmac", stream);
        let command = match command {
            0 | 1 => UserCommand::Register { tenant_id: ACME, email_hmac_sha256, role: Role::Developer, at },
            2 => UserCommand::ChangeEmail { email_hmac_sha256, at },
            3 => UserCommand::ChangePassword { at },
            4 => UserCommand::ChangeRole { role: Role::Admin, at },
            5 => UserCommand::ChangeStatus { status: UserStatus::Inactive, at },
            6 => UserCommand::RefuseLogin { at },
            7 => UserCommand::SecondFactor(SecondFactorCommand::Begin { secret: sealed("secret"), at }),
            8 => UserCommand::SecondFactor(match &self.users[stream] {
                User::Registered(user) if user.second_factor.is_enabled() => {
                    SecondFactorCommand::Disable { at }
                }
                _ => {
                    let recovery_codes = vec![hash("code")];
                    SecondFactorCommand::Enable { secret: sealed("secret"), recovery_codes, at }
                }
            }),
            _ => UserCommand::Delete { at },
        };
        run(&mut self.log, &mut self.users[stream], id::<UserId>(100 + stream as u128), command);
    }

    fn session(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let tokens = tokens(&self.unique("refresh", stream));
        let presented = match &self.sessions[stream] {
            Session::Open { refresh_token_hash, .. } => refresh_token_hash.clone(),
            Session::Unknown | Session::Closed => hash("none"),
        };
        let command = match command {
            0..=4 => SessionCommand::Open {
                tenant_id: ACME,
                user_id: id(100),
                credentials_version: 1,
                token_family_hash: hash("family"),
                tokens,
                at,
            },
            5..=8 => SessionCommand::Refresh { presented, tokens, at },
            _ => SessionCommand::Close { closing: Closing::Logout, at },
        };
        run(&mut self.log, &mut self.sessions[stream], id::<SessionId>(200 + stream as u128), command);
    }

    fn invite(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let token = self.unique("invite", stream);
        let command = match command {
            0..=6 => InviteCommand::Issue {
                tenant_id: ACME,
                target_role: Role::Viewer,
                issued_by: id(100),
                invited_by: Role::Owner,
                token_hash: hash(&token),
                token: sealed(&token),
                expires_at: at + chrono::TimeDelta::days(1),
                at,
            },
            _ => {
                let inviter = Some(Inviter { role: Role::Owner, deactivated_at: None });
                InviteCommand::Accept { user_id: id(100), inviter, at }
            }
        };
        run(&mut self.log, &mut self.invites[stream], id::<InviteId>(300 + stream as u128), command);
    }

    fn api_key(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let command = match command {
            0..=6 => ApiKeyCommand::Issue {
                tenant_id: ACME,
                name: self.unique("key", stream),
                key_hash: hash(&self.unique("key", stream)),
                at,
            },
            _ => ApiKeyCommand::Revoke { at },
        };
        run(&mut self.log, &mut self.api_keys[stream], id::<ApiKeyId>(400 + stream as u128), command);
    }

    fn portal_link(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let command = match command {
            0..=6 => PortalLinkCommand::Create {
                tenant_id: ACME,
                destination_id: id(500),
                access: PortalAccess::Operate,
                label: self.unique("link", stream),
                token_hash: hash(&self.unique("link", stream)),
                expires_at: at + chrono::TimeDelta::days(1),
                at,
            },
            _ => PortalLinkCommand::Revoke { at },
        };
        let id = id::<PortalLinkId>(450 + stream as u128);
        run(&mut self.log, &mut self.portal_links[stream], id, command);
    }

    fn destination(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let change = |url, active, auth| DestinationCommand::Change {
            url,
            concurrency_limit: Some(u32::from(command) + 1),
            active,
            auth,
            at,
        };
        let command = match command {
            0 => DestinationCommand::Register {
                tenant_id: ACME,
                url: format!("https://{stream}.example/"),
                concurrency_limit: 5,
                auth: (stream == 0).then(|| auth(AuthType::ApiKey, "first")),
                ingest_token_hash: hash(&self.unique("dst", stream)),
                at,
            },
            1 => change(Some(self.unique("https://", stream)), None, AuthChange::Remove),
            2 => change(None, Some(true), AuthChange::Keep),
            3 => change(None, Some(false), AuthChange::Configure(auth(AuthType::BasicAuth, "next"))),
            4 => DestinationCommand::RegenerateIngestToken {
                ingest_token_hash: hash(&self.unique("dst", stream)),
                at,
            },
            5..=7 => DestinationCommand::Suspend { consecutive_failures: 5, timer_seconds: 30, at },
            8 => DestinationCommand::Probe { at },
            _ => DestinationCommand::Resume { at },
        };
        let id = id::<DestinationId>(500 + stream as u128);
        run(&mut self.log, &mut self.destinations[stream], id, command);
    }

    fn sender(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let ingest_token_hash = hash(&self.unique("sndr", stream));
        let command = match command {
            0..=3 => SenderCommand::Register {
                tenant_id: ACME,
                destination_id: id(500),
                label: None,
                ingest_token_hash,
                at,
            },
            4 => SenderCommand::RegenerateIngestToken { ingest_token_hash, at },
            5 => SenderCommand::SetMapping { mapping: self.unique("{}", stream), at },
            6 => SenderCommand::ReplaceMapping { mapping: self.unique("{}", stream), at },
            7 | 8 => SenderCommand::RemoveMapping { at },
            _ => SenderCommand::Delete { at },
        };
        run(&mut self.log, &mut self.senders[stream], id::<SenderId>(600 + stream as u128), command);
    }

    fn event(&mut self, stream: usize, command: u8) {
        let at = self.now();
        let outcome = if command == 6 { Outcome::Succeeded } else { Outcome::RefusedStatus };
        let command = match command {
            0 => {
                accepted().tenant(ACME).destination(id(500 + stream as u128)).sender(id(600)).at(at).command()
            }
            1..=3 => started().at(at).command(),
            4..=6 => attempted().outcome(outcome).max_attempts(2).at(at).command(),
            7 => WebhookEventCommand::Replay { at },
            8 => WebhookEventCommand::ErasePayload { reason: "asked to".to_owned(), requested_by: None, at },
            _ => WebhookEventCommand::Cancel { reason: "purged".to_owned(), at },
        };
        run(&mut self.log, &mut self.events[stream], id::<WebhookEventId>(700 + stream as u128), command);
    }
}

/// Returns the batches of a case as ranges of a log of `len` facts.
fn batches(deliveries: &[Delivery], len: usize) -> Vec<Range<usize>> {
    let mut ranges = vec![];
    let mut reached = 0usize;
    // A case may have only repetitions. A last batch has the rest of the log.
    let rounds = deliveries.iter().cycle().take(len).copied();
    for delivery in rounds.chain([Delivery::Next { facts: len, repeated: 0 }]) {
        let range = match delivery {
            Delivery::Next { facts, repeated } => {
                reached.saturating_sub(repeated)..reached.saturating_add(facts).min(len)
            }
            Delivery::Again { facts, back } => {
                let begin = reached.saturating_sub(back);
                begin..(begin + facts).min(reached)
            }
        };
        reached = reached.max(range.end);
        ranges.push(range);
        if reached == len {
            break;
        }
    }
    ranges
}

/// Returns the rows after these batches, which are rolled back.
async fn fold(pool: &PgPool, batches: impl IntoIterator<Item = &[LoggedFact]>) -> serde_json::Value {
    let mut transaction = pool.begin().await.unwrap();
    for batch in batches {
        for projection in Projection::ALL {
            projection.apply(&mut transaction, batch).await.unwrap();
        }
    }
    let rows = rows::all(&mut *transaction).await;
    transaction.rollback().await.unwrap();
    rows
}

async fn check(pool: &PgPool, case: &Case) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for step in &case.steps {
        world.step(*step);
    }
    // The statistics read the start of a delivery from the log.
    world.log.record(pool).await;
    let facts = &world.log.facts;
    let plain = fold(pool, facts.chunks(1)).await;
    let ranges = batches(&case.deliveries, facts.len());
    let batched = fold(pool, ranges.iter().map(|range| &facts[range.clone()])).await;
    prop_assert_eq!(&plain, &batched, "batches {:?}", ranges);
    let at_once = fold(pool, [facts.as_slice()]).await;
    prop_assert_eq!(&plain, &at_once, "all at once");
    agree(&world, &plain)
}

/// Returns whether a finished attempt succeeded.
fn succeeded(fact: &WebhookEventFact) -> Option<bool> {
    match fact {
        WebhookEventFact::DeliveryAttempted { report, .. } => Some(report.outcome.is_success()),
        _ => None,
    }
}

/// Checks that rows and aggregates agree.
fn agree(world: &World, rows: &serde_json::Value) -> Result<(), TestCaseError> {
    let no_rows = vec![];
    let events = rows["webhook_events"].as_array().unwrap_or(&no_rows);
    for (stream, event) in world.events.iter().enumerate() {
        let id = id::<WebhookEventId>(700 + stream as u128).to_string();
        let row = events.iter().find(|row| row["id"] == id.as_str());
        let Some(delivery) = event.delivery() else {
            prop_assert!(row.is_none());
            continue;
        };
        let row = row.ok_or_else(|| TestCaseError::fail("an accepted event has no row"))?;
        prop_assert_eq!(&row["attempts"], delivery.attempts);
        prop_assert_eq!(&row["failed_attempts"], delivery.failed_attempts);
        let statuses: &[i64] = match event {
            WebhookEvent::Unknown => &[],
            WebhookEvent::Waiting(_) => &[0, 4],
            WebhookEvent::Delivering(_) => &[1],
            WebhookEvent::Succeeded(_) => &[2],
            WebhookEvent::CriticalFailure(_) => &[5],
            WebhookEvent::Cancelled(_) => &[6],
            WebhookEvent::Erased(_) => &[2, 5, 6],
        };
        prop_assert!(row["status"].as_i64().is_some_and(|status| statuses.contains(&status)));
    }
    let statistics = rows["delivery_statistics"].as_array().unwrap_or(&no_rows);
    for (column, count) in [
        ("accepted", world.count(|fact| matches!(fact, WebhookEventFact::EventAccepted(_)))),
        ("succeeded", world.count(|fact| succeeded(fact) == Some(true))),
        ("failed_attempts", world.count(|fact| succeeded(fact) == Some(false))),
        ("critical_failures", world.count(|fact| matches!(fact, WebhookEventFact::CriticalFailure { .. }))),
        ("cancelled", world.count(|fact| matches!(fact, WebhookEventFact::Cancelled { .. }))),
        ("replayed", world.count(|fact| matches!(fact, WebhookEventFact::Replayed { .. }))),
    ] {
        let counted: i64 = statistics.iter().filter_map(|row| row[column].as_i64()).sum();
        // By hour and by day, for the destination and for all.
        prop_assert_eq!(counted, 4 * count, "{}", column);
    }
    let counts = rows["webhook_event_counts"].as_array().unwrap_or(&no_rows);
    let columns =
        ["pending", "processing", "succeeded", "failed", "waiting_retry", "critical_failure", "cancelled"];
    for (status, column) in (0i64..).zip(columns) {
        let counted: i64 = counts.iter().filter_map(|row| row[column].as_i64()).sum();
        let expected = events.iter().filter(|row| row["status"] == status).count();
        // By hour and by day, for the destination and for all.
        prop_assert_eq!(usize::try_from(counted), Ok(4 * expected), "{}", column);
    }
    let routes = rows["ingest_routes"].as_array().unwrap_or(&no_rows);
    let destinations = rows["destinations"].as_array().unwrap_or(&no_rows);
    for route in routes.iter().filter(|route| !route["token_hash"].is_null()) {
        let destination = destinations.iter().find(|row| row["id"] == route["destination_id"]);
        prop_assert_eq!(Some(&route["stage"]), destination.map(|row| &row["stage"]));
    }
    Ok(())
}

#[sqlx::test(migrations = "../migrations")]
async fn any_split_with_any_repeats_equals_the_plain_fold(pool: PgPool) {
    let options = (*pool.connect_options()).clone();
    // The runner is synchronous, and shrinks what fails: it gets a thread and a runtime of its own.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pool = runtime.block_on(PgPoolOptions::new().max_connections(2).connect_with(options)).unwrap();
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&case(), |case| runtime.block_on(check(&pool, &case)));
        runtime.block_on(pool.close());
        result
    });
    thread.join().unwrap().unwrap();
}
