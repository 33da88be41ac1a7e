//! Resources as they were.
//!
//! A resource at a time is the fold of its stream up to the last fact that was recorded at or before that
//! time. The time of a fact is the one at which the log took it, and not the `at` it carries: that is read
//! from the clock of whatever process wrote it, while all facts are recorded by the one clock of the log,
//! and nobody could have seen a fact before it was there. It is compared as histories show it, in whole
//! milliseconds, so that the time of a fact, given back, shows what that fact made of the resource.

use aggregates::destination::Destination;
use aggregates::ids::{DestinationId, SenderId, WebhookEventId};
use aggregates::sender::Sender;
use aggregates::webhook_event::WebhookEvent;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::{LoggedFact, TenantScope, destinations, senders, webhook_events};
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::event_store::stream_reader::{self, Wanted};

/// The parameter that asks for the past.
const AS_OF: &str = "AsOf";

/// Whether the caller asks for the past.
pub(crate) fn asked(query: &Query) -> bool {
    query.mentions(AS_OF)
}

/// An event of the caller's tenant as it was, its destination's breaker considered.
pub(crate) async fn event(
    commands: &Commands,
    caller: &Caller,
    id: WebhookEventId,
    query: Query,
) -> Result<webhook_events::WebhookEvent, Problem> {
    let mut past = Past::begin::<WebhookEvent>(commands, caller, id.0, "event", query).await?;
    let facts = past.facts::<WebhookEvent>(id.0).await?;
    let event = webhook_events::of_stream(&facts).map_err(Problem::internal)?;
    let mut event = event.ok_or_else(|| past.not_yet())?;
    if event.status.is_waiting() {
        let facts = past.facts::<Destination>(event.destination_id.0).await?;
        let destination = destinations::of_stream(&facts).map_err(Problem::internal)?;
        let next_check_at = destination.and_then(|destination| destination.next_check_at);
        event.next_attempt_at = event.next_attempt_at.max(next_check_at);
    }
    past.end().await?;
    Ok(event)
}

/// A destination of the caller's tenant as it was.
pub(crate) async fn destination(
    commands: &Commands,
    caller: &Caller,
    id: DestinationId,
    query: Query,
) -> Result<destinations::Destination, Problem> {
    let mut past = Past::begin::<Destination>(commands, caller, id.0, "destination", query).await?;
    let facts = past.facts::<Destination>(id.0).await?;
    let destination = destinations::of_stream(&facts).map_err(Problem::internal)?;
    let destination = destination.ok_or_else(|| past.not_yet())?;
    past.end().await?;
    Ok(destination)
}

/// A sender of the caller's tenant as it was, also when it is deleted by now.
pub(crate) async fn sender(
    commands: &Commands,
    caller: &Caller,
    id: SenderId,
    query: Query,
) -> Result<senders::Sender, Problem> {
    let mut past = Past::begin::<Sender>(commands, caller, id.0, "sender", query).await?;
    let facts = past.facts::<Sender>(id.0).await?;
    let found = senders::of_stream(&facts).map_err(Problem::internal)?;
    let found = found.ok_or_else(|| past.not_yet())?;
    if found.deleted_at.is_some() {
        return Err(past.no_more());
    }
    past.end().await?;
    Ok(found.sender)
}

/// A moment of a tenant's past. All its queries see the same log.
struct Past {
    scope: TenantScope,
    as_of: DateTime<Utc>,
    thing: &'static str,
}

impl Past {
    /// Lets the caller through to what is, or was, of their tenant, and reads which time they ask for.
    async fn begin<A: Aggregate>(
        commands: &Commands,
        caller: &Caller,
        id: Uuid,
        thing: &'static str,
        mut query: Query,
    ) -> Result<Self, Problem> {
        let mut connection = commands.pool().acquire().await?;
        let owner = stream_reader::owner_of::<A>(&mut connection, id).await?;
        drop(connection);
        caller.check_owner(owner, thing)?;
        let as_of = query.optional(AS_OF, query::moment(Bound::To));
        query.complete()?;
        let as_of = as_of.ok_or_else(|| Problem::internal("a time is missing and nobody refused it"))?;
        let mut scope = TenantScope::begin(commands.pool(), caller.tenant_id).await?;
        let now = stream_reader::now(scope.connection()).await?;
        if as_of > now {
            let message = format!("must not be in the future; it is {} now", Timestamp(now));
            return Err(Problem::invalid(FieldErrors::of(AS_OF, message)));
        }
        Ok(Self { scope, as_of, thing })
    }

    /// The facts that a stream of the tenant had.
    async fn facts<A: Aggregate>(&mut self, id: Uuid) -> Result<Vec<LoggedFact>, Problem> {
        let until = stream_reader::version_at::<A>(self.scope.connection(), id, self.as_of).await?;
        let wanted = Wanted { until: Some(until), ..Wanted::default() };
        let rows = stream_reader::read_some::<A>(self.scope.connection(), id, wanted).await?;
        rows.into_iter().map(LoggedFact::try_from).collect::<Result<_, _>>().map_err(Problem::internal)
    }

    async fn end(self) -> Result<(), Problem> {
        Ok(self.scope.end().await?)
    }

    fn not_yet(&self) -> Problem {
        let Self { thing, .. } = self;
        let detail = format!("The {thing} did not exist yet at {}.", Timestamp(self.as_of));
        Problem::new(Kind::NotFound, detail)
    }

    fn no_more(&self) -> Problem {
        let Self { thing, .. } = self;
        Problem::new(Kind::NotFound, format!("The {thing} was deleted by {}.", Timestamp(self.as_of)))
    }
}
