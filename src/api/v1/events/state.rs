//! State of the handlers of webhook events.

use aggregates::access::{Access, Accessed};
use aggregates::ids::WebhookEventId;
use projections::{TenantScope, webhook_events};

use crate::api::access::authentication::Caller;
use crate::api::access::recorder::AccessRecorder;
use crate::api::commands::Commands;
use crate::api::http::cursor::Cursors;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::v1::events::view::EventView;
use crate::api::v1::events::{erasure, streams};
use crate::secrets::vault::Vault;

/// Dependencies of the handlers of webhook events.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) commands: Commands,
    pub(crate) cursors: Cursors,
    pub(crate) accesses: AccessRecorder,
    pub(crate) vault: Vault,
}

impl Events {
    /// Returns an event of the caller's tenant, from its stream where the read model has no row of it.
    pub(super) async fn find(
        &self,
        caller: &Caller,
        id: WebhookEventId,
    ) -> Result<webhook_events::WebhookEvent, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let event = webhook_events::get(&mut scope, id).await?;
        scope.end().await?;
        if let Some(event) = event {
            return Ok(event);
        }
        let mut connection = self.commands.pool().acquire().await?;
        let event = streams::read_before_row(&mut connection, id).await?;
        caller.check_owner(event.as_ref().map(|event| event.tenant_id), "event")?;
        event.ok_or_else(|| Problem::not_found("event"))
    }

    /// Reads the filter of a list of the caller's events. An idempotency key becomes the id of its event, whether there is
    /// one or not.
    pub(super) async fn filter(
        &self,
        caller: &Caller,
        query: &mut Query,
    ) -> Result<webhook_events::Filter, Problem> {
        let mut filter: webhook_events::Filter = query.filter();
        if let Some(key) = query.text("IdempotencyKey") {
            let id = self.vault.event_id(caller.tenant_id, key).await;
            filter.id = Some(id.map_err(Problem::idempotency_keys_unavailable)?);
        }
        Ok(filter)
    }

    /// Adds the payload to an event, or when and why it was erased.
    pub(super) async fn with_payload(
        &self,
        caller: &Caller,
        mut event: EventView,
    ) -> Result<EventView, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        erasure::add_payloads(&mut scope, std::slice::from_mut(&mut event)).await?;
        scope.end().await?;
        if event.payload.is_some() {
            let stream = Access::of_event(WebhookEventId(event.id));
            self.accesses.record(caller, stream, Accessed::Payload).await?;
        }
        Ok(event)
    }
}
