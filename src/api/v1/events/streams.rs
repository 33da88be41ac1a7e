//! A webhook event as its own stream tells of it, where a read model has no rows of it: they come in a
//! moment, or they were kept as long as the tenant wanted.

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use projections::{LogPosition, LogRow, LoggedFact, Projection, checkpoints, webhook_events};
use sqlx::PgConnection;

use crate::api::http::problem::Problem;
use crate::event_store::stream_reader;

/// The event as it is, if it was accepted.
pub(crate) async fn read(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    let rows = stream_reader::read::<WebhookEvent>(connection, id.0).await?;
    event(&parse(rows)?)
}

/// The event, if it was accepted, no further on than its row will be at first: who looks again must not see
/// it go back. For who has looked for the row and found none.
pub(crate) async fn read_before_row(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    event(&facts_before_rows(connection, id, Projection::WebhookEvents).await?)
}

/// Those facts of an event that `projection` has passed, and the first one, without which there is no event.
/// For who has looked for its rows and found none.
pub(crate) async fn facts_before_rows(
    connection: &mut PgConnection,
    id: WebhookEventId,
    projection: Projection,
) -> Result<Vec<LoggedFact>, Problem> {
    // Rows that come later come with a checkpoint that is no earlier than this one.
    let checkpoint = checkpoints::load(connection, &[projection.name()]).await?.pop();
    let passed = checkpoint.map_or_else(LogPosition::default, |checkpoint| checkpoint.position);
    let mut rows = stream_reader::read::<WebhookEvent>(connection, id.0).await?;
    rows.retain(|row| row.sequence == 1 || row.log_position() <= passed);
    parse(rows)
}

fn parse(rows: Vec<LogRow>) -> Result<Vec<LoggedFact>, Problem> {
    rows.into_iter().map(LoggedFact::try_from).collect::<Result<_, _>>().map_err(Problem::internal)
}

fn event(facts: &[LoggedFact]) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    webhook_events::of_stream(facts).map_err(Problem::internal)
}
