//! Webhook events read from their streams, where a read model has no rows: the rows are not written yet, or
//! retention has removed them.

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use projections::{LogPosition, LogRow, LoggedFact, Projection, checkpoints, webhook_events};
use sqlx::PgConnection;

use crate::api::http::problem::Problem;
use crate::event_store::stream_reader;

/// Returns the current state of an event, if it was accepted.
pub(crate) async fn read(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    let rows = stream_reader::read::<WebhookEvent>(connection, id.0).await?;
    event(&parse(rows)?)
}

/// Returns an event that has no row, if it was accepted. Its state is not later than that of the row when it
/// appears, so that a caller who reads again does not see the event go back.
pub(crate) async fn read_before_row(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    event(&facts_before_rows(connection, id, Projection::WebhookEvents).await?)
}

/// Returns the facts of an event up to the checkpoint of `projection`, which has no rows of it, and always the
/// first fact, without which there is no event.
pub(crate) async fn facts_before_rows(
    connection: &mut PgConnection,
    id: WebhookEventId,
    projection: Projection,
) -> Result<Vec<LoggedFact>, Problem> {
    // Rows that appear later belong to a checkpoint that is not before this one.
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
