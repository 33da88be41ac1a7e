//! `PATCH /api/v1/tenants/{id}`

use aggregates::ids::TenantId;
use aggregates::reservation::{Reservation, ReservationCommand};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};

use super::{TenantView, Tenants};
use crate::api::access::authentication::Caller;
use crate::api::commands::UnitOfWork;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::number::{PositiveNumber, RetentionDays};
use crate::api::http::fields::text::NameText;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds;
use crate::clock;

body! {
    /// Changes of a tenant. What is absent stays as it is.
    TenantChange {
        name: Option<NameText> = "name",
        max_attempts: Option<PositiveNumber> = "maxTrys",
        circuit_breaker_timer: Option<PositiveNumber> = "circuitBreakerTimer",
        /// Days after acceptance at which the payloads of completed events are erased; `null`: never.
        payload_retention_days: Option<RetentionDays> = "payloadRetentionDays",
        /// Days after acceptance at which completed events are removed from the lists, with their payloads;
        /// `null`: never.
        event_retention_days: Option<RetentionDays> = "eventRetentionDays",
    }
}

/// Update the tenant
///
/// A new `maxTrys` also applies to events that are being delivered. A shorter retention takes effect within
/// minutes and cannot be undone. It never removes an event before its delivery is completed, and the history of
/// every event stays.
#[utoipa::path(patch, path = "/api/v1/tenants/{id}", tag = "Tenants", request_body = TenantChange,
    responses((status = 200, body = TenantView, description = "The tenant after the change."),
        (status = 400), (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<TenantView>, Problem> {
    let before = tenants.find_own(&caller, id).await?;
    let change: TenantChange = body.read_small(&()).await?;
    let (change, at) = (&change, clock::now());
    let (tenant, changed) = tenants
        .commands
        .transact(&caller.metadata(), |mut work| async move {
            let mut tenant = work.load::<Tenant>(id.0).await?;
            let Tenant::Registered(before) = tenant.state.clone() else {
                return Err(Problem::not_found("tenant"));
            };
            let mut commands = vec![];
            if let Some(name) = change.name.as_ref().filter(|name| **name != before.name) {
                move_name(&mut work, id, &before.name, name, at).await?;
                commands.push(TenantCommand::Rename { name: name.clone(), at });
            }
            let Resilience { max_attempts, circuit_breaker_timer } = before.resilience;
            let resilience = Resilience {
                max_attempts: change.max_attempts.unwrap_or(max_attempts),
                circuit_breaker_timer: change.circuit_breaker_timer.unwrap_or(circuit_breaker_timer),
            };
            commands.push(TenantCommand::ChangeResilience { resilience, at });
            let Retention { payload_days, event_days } = before.retention;
            let retention = Retention {
                payload_days: change.payload_retention_days.unwrap_or(payload_days),
                event_days: change.event_retention_days.unwrap_or(event_days),
            };
            commands.push(TenantCommand::ChangeRetention { retention, at });
            let facts = work.decide_loaded(&mut tenant, commands, Problem::from)?;
            match tenant.state {
                Tenant::Registered(after) => Ok((work, (after, !facts.is_empty()))),
                Tenant::Unknown => Err(Problem::not_found("tenant")),
            }
        })
        .await?;
    let holds = legal_holds::read(&tenants.commands, caller.tenant_id).await?;
    Ok(Json(TenantView {
        id: id.0,
        name: tenant.name,
        max_attempts: tenant.resilience.max_attempts,
        circuit_breaker_timer: tenant.resilience.circuit_breaker_timer,
        payload_retention_days: tenant.retention.payload_days,
        event_retention_days: tenant.retention.event_days,
        legal_hold: holds.on_tenant().map(Into::into),
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}

async fn move_name(
    work: &mut UnitOfWork,
    id: TenantId,
    from: &str,
    to: &str,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let reserve = ReservationCommand::Reserve { holder: id.0, at };
    let taken = |_| Problem::name_taken(to);
    work.decide::<Reservation>(Reservation::on_tenant_name(to), reserve, taken).await?;
    let release = ReservationCommand::Release { holder: id.0, at };
    work.decide::<Reservation>(Reservation::on_tenant_name(from), release, Problem::internal).await?;
    Ok(())
}
