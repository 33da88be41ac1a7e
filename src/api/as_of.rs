//! Resources as of a time in the reader.
//!
//! A resource as of a time is the fold of its stream up to the last fact that was recorded at or before that time.
//! The time of a fact is the one at which the log recorded it, and not its `at`, which comes from the clock of the
//! process that wrote it: all facts are recorded by the one clock of the log, and no fact was visible before. Times
//! are compared in whole milliseconds, as histories show them, so the time of a fact shows what that fact changed.

use aggregates::destination::Destination;
use aggregates::ids::{DestinationId, SenderId, TenantId, WebhookEventId};
use aggregates::sender::Sender;
use aggregates::webhook_event::WebhookEvent;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::legal_holds::{self, LegalHolds};
use projections::{LoggedFact, TenantScope, destinations, senders, webhook_events};
use uuid::Uuid;

use crate::api::access::authentication::{self, Caller};
use crate::api::commands::Commands;
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::event_store::stream_reader::{self, Wanted};

const AS_OF: &str = "AsOf";

/// Returns whether the query asks for the state as of a time.
pub(crate) fn is_requested(query: &Query) -> bool {
    query.mentions(AS_OF)
}

/// Returns an event of the tenant. Its next attempt depends on the circuit breaker of its destination.
///
/// # Errors
/// The event belongs to another tenant, or did not exist at the time; the time is invalid or in the future.
pub(crate) async fn event(
    commands: &Commands,
    tenant_id: TenantId,
    id: WebhookEventId,
    query: Query,
) -> Result<webhook_events::WebhookEvent, Problem> {
    let mut reader = AsOfReader::begin::<WebhookEvent>(commands, tenant_id, id.0, "event", query).await?;
    let facts = reader.facts::<WebhookEvent>(id.0).await?;
    let event = webhook_events::of_stream(&facts).map_err(Problem::internal)?;
    let mut event = event.ok_or_else(|| reader.not_created_yet())?;
    if event.status.is_waiting() {
        let facts = reader.facts::<Destination>(event.destination_id.0).await?;
        let destination = destinations::of_stream(&facts).map_err(Problem::internal)?;
        let next_check_at = destination.and_then(|destination| destination.next_check_at);
        event.next_attempt_at = event.next_attempt_at.max(next_check_at);
    }
    reader.end().await?;
    Ok(event)
}

/// Returns a destination of the tenant, and the legal holds of the tenant.
///
/// # Errors
/// The destination belongs to another tenant, or did not exist at the time; the time is invalid or in the future.
pub(crate) async fn destination(
    commands: &Commands,
    tenant_id: TenantId,
    id: DestinationId,
    query: Query,
) -> Result<(destinations::Destination, LegalHolds), Problem> {
    let mut reader =
        AsOfReader::begin::<Destination>(commands, tenant_id, id.0, "destination", query).await?;
    let facts = reader.facts::<Destination>(id.0).await?;
    let destination = destinations::of_stream(&facts).map_err(Problem::internal)?;
    let destination = destination.ok_or_else(|| reader.not_created_yet())?;
    let as_of = Some(reader.as_of);
    let holds = legal_holds::of_tenant(reader.scope.connection(), tenant_id, as_of).await?;
    reader.end().await?;
    Ok((destination, holds))
}

/// Returns a sender of the caller's tenant, which may have been deleted since.
///
/// # Errors
/// The sender belongs to another tenant, or did not exist at the time; the time is invalid or in the future.
pub(crate) async fn sender(
    commands: &Commands,
    caller: &Caller,
    id: SenderId,
    query: Query,
) -> Result<senders::Sender, Problem> {
    let mut reader = AsOfReader::begin::<Sender>(commands, caller.tenant_id, id.0, "sender", query).await?;
    let facts = reader.facts::<Sender>(id.0).await?;
    let found = senders::of_stream(&facts).map_err(Problem::internal)?;
    let found = found.ok_or_else(|| reader.not_created_yet())?;
    if found.deleted_at.is_some() {
        return Err(reader.already_deleted());
    }
    reader.end().await?;
    Ok(found.sender)
}

/// Reader of a tenant's streams as of a time. All its queries see the same snapshot of the log.
struct AsOfReader {
    scope: TenantScope,
    as_of: DateTime<Utc>,
    resource: &'static str,
}

impl AsOfReader {
    /// Checks that the resource belongs to the tenant, and reads the time.
    async fn begin<A: Aggregate>(
        commands: &Commands,
        tenant_id: TenantId,
        id: Uuid,
        resource: &'static str,
        mut query: Query,
    ) -> Result<Self, Problem> {
        let mut connection = commands.pool().acquire().await?;
        let owner = stream_reader::owner_of::<A>(&mut connection, id).await?;
        drop(connection);
        authentication::check_owner(tenant_id, owner, resource)?;
        let as_of = query.optional(AS_OF, query::moment(Bound::To));
        query.complete()?;
        let as_of = as_of.ok_or_else(|| Problem::internal("a time is missing and was not refused"))?;
        let mut scope = TenantScope::begin(commands.pool(), tenant_id).await?;
        let now = stream_reader::now(scope.connection()).await?;
        if as_of > now {
            let message = format!("must not be in the future; the current time is {}", Timestamp(now));
            return Err(Problem::invalid(FieldErrors::of(AS_OF, message)));
        }
        Ok(Self { scope, as_of, resource })
    }

    /// Returns the facts that a stream had at the time.
    async fn facts<A: Aggregate>(&mut self, id: Uuid) -> Result<Vec<LoggedFact>, Problem> {
        let until = stream_reader::version_at::<A>(self.scope.connection(), id, self.as_of).await?;
        let wanted = Wanted { until: Some(until), ..Wanted::default() };
        let rows = stream_reader::read_some::<A>(self.scope.connection(), id, wanted).await?;
        rows.into_iter().map(LoggedFact::try_from).collect::<Result<_, _>>().map_err(Problem::internal)
    }

    async fn end(self) -> Result<(), Problem> {
        Ok(self.scope.end().await?)
    }

    fn not_created_yet(&self) -> Problem {
        let Self { resource, .. } = self;
        let detail = format!("The {resource} did not exist yet at {}.", Timestamp(self.as_of));
        Problem::new(Kind::NotFound, detail)
    }

    fn already_deleted(&self) -> Problem {
        let Self { resource, .. } = self;
        Problem::new(Kind::NotFound, format!("The {resource} was deleted by {}.", Timestamp(self.as_of)))
    }
}
