//! State of the handlers of webhook events.

use aggregates::access::{Access, Accessed};
use aggregates::ids::{TenantId, WebhookEventId};
use projections::{TenantScope, webhook_events};

use crate::api::access::principal::DeliveryViewer;
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
    /// Returns an event that the caller may see, from its stream where the read model has no row of it.
    pub(super) async fn find(
        &self,
        viewer: &impl DeliveryViewer,
        id: WebhookEventId,
    ) -> Result<webhook_events::WebhookEvent, Problem> {
        let visible = viewer.scope();
        let mut scope = TenantScope::begin(self.commands.pool(), visible.searched_tenant()).await?;
        let mut event = webhook_events::get(&mut scope, id).await?;
        scope.end().await?;
        if event.is_none() {
            let mut connection = self.commands.pool().acquire().await?;
            event = streams::read_before_row(&mut connection, id).await?;
        }
        let event = event.ok_or_else(|| Problem::not_found("event"))?;
        visible.admit(&event)?;
        Ok(event)
    }

    /// Reads the filter of a list of the events that the caller may see, which are of one tenant. An idempotency key becomes
    /// the id of its event, whether there is one or not.
    pub(super) async fn filter(
        &self,
        viewer: &impl DeliveryViewer,
        query: &mut Query,
    ) -> Result<(TenantId, webhook_events::Filter), Problem> {
        let given: webhook_events::Filter = query.filter();
        let (tenant_id, destination_id) = viewer.scope().narrow(given.destination_id)?;
        let mut filter = webhook_events::Filter { destination_id, ..given };
        if let Some(key) = query.text("IdempotencyKey") {
            let id = self.vault.event_id(tenant_id, key).await;
            filter.id = Some(id.map_err(Problem::idempotency_keys_unavailable)?);
        }
        Ok((tenant_id, filter))
    }

    /// Adds the payload to an event that the caller may see, or when and why it was erased.
    pub(super) async fn with_payload(
        &self,
        viewer: &impl DeliveryViewer,
        mut event: EventView,
    ) -> Result<EventView, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), TenantId(event.tenant_id)).await?;
        let shows_reasons = viewer.scope().shows_internals();
        erasure::add_payloads(&mut scope, std::slice::from_mut(&mut event), shows_reasons).await?;
        scope.end().await?;
        if event.payload.is_some() {
            let stream = Access::of_event(WebhookEventId(event.id));
            self.accesses.record(viewer, stream, Accessed::Payload).await?;
        }
        Ok(event)
    }
}
