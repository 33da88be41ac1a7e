//! Senders: named sources of webhooks for a destination.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod mapping;
pub(crate) mod regenerate_token;
pub(crate) mod register;

use aggregates::ids::SenderId;
use aggregates::sender::{Sender, SenderCommand};
use projections::senders;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::tenant_limits::TenantLimits;

/// Dependencies of the handlers of senders and their mappings.
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    pub(crate) commands: Commands,
    /// Longest body that contains a payload, in bytes.
    pub(crate) payload_body_bytes_max: usize,
    pub(crate) limits: TenantLimits,
}

/// A sender.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sender)]
pub(crate) struct SenderView {
    id: Uuid,
    destination_id: Uuid,
    tenant_id: Uuid,
    #[schema(examples("GitHub Webhooks"))]
    label: Option<String>,
    has_mapping: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Senders {
    /// Checks that a sender belongs to the caller's tenant.
    ///
    /// # Errors
    /// The sender does not exist or belongs to another tenant.
    async fn check_owner(&self, caller: &Caller, id: SenderId) -> Result<(), Problem> {
        let owner = senders::owner_of(&mut *self.commands.pool().acquire().await?, id).await?;
        caller.check_owner(owner, "sender")
    }

    /// Executes a command on a sender of the caller's tenant.
    ///
    /// # Errors
    /// The sender does not exist, belongs to another tenant or refuses the command.
    async fn execute(&self, caller: &Caller, id: SenderId, command: SenderCommand) -> Result<(), Problem> {
        self.check_owner(caller, id).await?;
        self.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
        Ok(())
    }
}

impl From<senders::Sender> for SenderView {
    fn from(sender: senders::Sender) -> Self {
        Self {
            id: sender.id.0,
            destination_id: sender.destination_id.0,
            tenant_id: sender.tenant_id.0,
            label: sender.label,
            has_mapping: sender.has_mapping,
            created_at: sender.created_at.into(),
            updated_at: sender.updated_at.into(),
        }
    }
}
