//! Legal holds on tenants and destinations, as their handlers share them.

use aggregates::ids::TenantId;
use aggregates::legal_hold::{HeldSubject, LegalHoldCommand, LegalHoldRefusal};
use projections::legal_holds::{self, LegalHold, LegalHolds};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::fields::body;
use crate::api::http::fields::text::ErasureReasonText;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::time::Timestamp;
use crate::clock;

body! {
    /// Reason for placing or lifting a legal hold.
    LegalHoldReason {
        reason: ErasureReasonText = "reason",
    }
}

/// Legal hold: nothing that it covers is erased, on request or by retention, until it is lifted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LegalHold)]
pub(crate) struct LegalHoldView {
    reason: String,
    placed_at: Timestamp,
}

impl From<&LegalHold> for LegalHoldView {
    fn from(hold: &LegalHold) -> Self {
        Self { reason: hold.reason.clone(), placed_at: hold.placed_at.into() }
    }
}

/// Returns the legal holds of a tenant.
pub(super) async fn read(commands: &Commands, tenant_id: TenantId) -> Result<LegalHolds, Problem> {
    let mut connection = commands.pool().acquire().await?;
    Ok(legal_holds::of_tenant(&mut connection, tenant_id, None).await?)
}

/// Places the hold on the tenant or destination `id` of the caller's tenant.
pub(super) async fn place(
    commands: &Commands,
    caller: &Caller,
    subject: HeldSubject,
    id: Uuid,
    LegalHoldReason { reason }: LegalHoldReason,
) -> Result<LegalHoldView, Problem> {
    let at = clock::now();
    let view = LegalHoldView { reason: reason.clone(), placed_at: at.into() };
    let command = LegalHoldCommand::Place { subject, reason, at };
    commands.store().execute_legal_hold(caller.tenant_id, id, command, &caller.metadata()).await?;
    Ok(view)
}

/// Lifts the hold on the tenant or destination `id` of the caller's tenant, if there is one.
pub(super) async fn lift(
    commands: &Commands,
    caller: &Caller,
    id: Uuid,
    LegalHoldReason { reason }: LegalHoldReason,
) -> Result<(), Problem> {
    let command = LegalHoldCommand::Lift { reason, at: clock::now() };
    commands.store().execute_legal_hold(caller.tenant_id, id, command, &caller.metadata()).await?;
    Ok(())
}

/// Returns the problem that a hold forbids an erasure.
pub(super) fn forbids(hold: &LegalHold) -> Problem {
    let LegalHold { subject, reason, placed_at } = hold;
    let subject = match subject {
        HeldSubject::Tenant => "tenant",
        HeldSubject::Destination => "destination",
    };
    let detail = format!(
        "The {subject} has been under a legal hold since {} ({reason}). Nothing of it can be erased until an Owner lifts it.",
        Timestamp(*placed_at)
    );
    Problem::new(Kind::LegalHold, detail)
}

impl From<LegalHoldRefusal> for Problem {
    fn from(refusal: LegalHoldRefusal) -> Self {
        match refusal {
            LegalHoldRefusal::AlreadyHeld => Self::new(
                Kind::LegalHold,
                "There is a legal hold already. Lifting it would lift a second one as well, so only one can be placed.",
            ),
        }
    }
}
