//! A webhook event as its own stream shows it: what the read model will show in a moment.

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use projections::{LoggedFact, webhook_events};
use sqlx::PgConnection;

use super::problem::Problem;
use crate::event_store::stream_reader;

/// The event, if it was accepted.
pub(super) async fn read(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<webhook_events::WebhookEvent>, Problem> {
    let rows = stream_reader::read::<WebhookEvent>(connection, id.0).await?;
    let facts: Result<Vec<_>, _> = rows.into_iter().map(LoggedFact::try_from).collect();
    webhook_events::of_stream(&facts.map_err(Problem::internal)?).map_err(Problem::internal)
}
