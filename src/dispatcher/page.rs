//! A page of the log, as far as the dispatcher folds it.

use std::collections::HashSet;

use aggregates::destination::Destination;
use aggregates::ids::WebhookEventId;
use aggregates::tenant::{Tenant, TenantFact};
use aggregates::webhook_event::WebhookEvent;
use cqrs_es::Aggregate;
use projections::logged_fact::UnreadableRow;
use projections::{LogPosition, LogRow, LoggedFact};
use uuid::Uuid;

use super::set_aside::SetAside;

/// Facts that follow one another in the log. The default is an empty page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Facts of webhook events and destinations, and the suspensions of tenants, except the facts of events that are set
    /// aside.
    pub(super) facts: Vec<LoggedFact>,
    /// Events with a fact that cannot be read. `facts` has those before it.
    pub(super) unreadable: Vec<SetAside>,
    /// The last fact of the page, of any aggregate; `None`: the page is empty.
    pub(super) position: Option<LogPosition>,
}

impl Page {
    /// Reads those rows that the dispatcher folds. Those of other aggregates may have forms that only a newer
    /// version of the program knows.
    ///
    /// # Errors
    /// When a fact of a destination or a suspension of a tenant cannot be read: whether it may get requests is not known
    /// then.
    pub(super) fn read(
        rows: Vec<LogRow>,
        is_set_aside: impl Fn(WebhookEventId) -> bool,
    ) -> Result<Self, UnreadableRow> {
        let mut page = Self { position: rows.last().map(LogRow::log_position), ..Self::default() };
        let mut set_aside_here = HashSet::new();
        for row in rows {
            match row.aggregate_type.as_str() {
                Destination::TYPE => page.facts.push(row.try_into()?),
                Tenant::TYPE if TenantFact::OF_SUSPENSION.contains(&row.event_type.as_str()) => {
                    page.facts.push(row.try_into()?);
                }
                WebhookEvent::TYPE => {
                    let Ok(id) = Uuid::parse_str(&row.aggregate_id) else { continue };
                    let event_id = WebhookEventId(id);
                    if is_set_aside(event_id) || set_aside_here.contains(&event_id) {
                        continue;
                    }
                    match row.try_into() {
                        Ok(fact) => page.facts.push(fact),
                        Err(unreadable) => {
                            let reason = format!("{:#}", anyhow::Error::from(unreadable));
                            set_aside_here.insert(event_id);
                            page.unreadable.push(SetAside { event_id, reason });
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(page)
    }
}
