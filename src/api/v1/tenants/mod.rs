//! Tenants: registered with their first Owner, looked at, changed.

pub(crate) mod webhook_secret;

use aggregates::email::Email;
use aggregates::ids::{TenantId, UserId};
use aggregates::reservation::{Reservation, ReservationCommand};
use aggregates::role::Role;
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::text::NAME_CHARS_MAX;
use aggregates::user::{User, UserCommand};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::{TenantScope, tenants};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::rate_limits::Limiter;
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{
    EmailText, NameText, PasswordText, PositiveNumber, RetentionDays, RoleName,
};
use crate::event_store::Actor;
use crate::secrets::passwords::Passwords;
use crate::secrets::token::TokenKind;
use crate::secrets::vault::Vault;
use crate::{clock, identifiers};

/// What tenants and their secrets need.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) vault: Vault,
    /// How long a new tenant keeps what has ended.
    pub(crate) retention: Retention,
    /// Tenants created, by address.
    pub(crate) creations: Limiter,
    /// Longest body that carries a payload, in bytes.
    pub(crate) payload_body_bytes_max: usize,
}

/// Somebody who opens an account.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewTenant {
    /// Unique on the platform.
    #[schema(value_type = NameText)]
    name: String,
    #[schema(value_type = EmailText)]
    owner_email: Email,
    #[schema(value_type = PasswordText)]
    owner_password: SecretString,
    /// Attempts in all before a delivery is given up; 10 if absent.
    #[schema(value_type = Option<PositiveNumber>, rename = "maxTrys")]
    max_attempts: Option<u32>,
    /// Seconds a destination's circuit breaker stays open; 300 if absent.
    #[schema(value_type = Option<PositiveNumber>)]
    circuit_breaker_timer: Option<u32>,
}

/// What is to change of a tenant; what is absent stays.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct TenantChange {
    #[schema(value_type = Option<NameText>)]
    name: Option<String>,
    #[schema(value_type = Option<PositiveNumber>, rename = "maxTrys")]
    max_attempts: Option<u32>,
    #[schema(value_type = Option<PositiveNumber>)]
    circuit_breaker_timer: Option<u32>,
    /// Days after their acceptance at which the payloads of events that have ended are erased; `null`:
    /// never.
    #[schema(value_type = Option<RetentionDays>)]
    payload_retention_days: Option<Option<u32>>,
    /// Days after their acceptance at which events that have ended leave the lists, their payloads with
    /// them; `null`: never.
    #[schema(value_type = Option<RetentionDays>)]
    event_retention_days: Option<Option<u32>>,
}

/// A tenant that was just registered, with its first user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredTenant {
    tenant_id: Uuid,
    tenant_name: String,
    /// Signs every delivery.
    webhook_secret: String,
    #[serde(rename = "maxTrys")]
    max_attempts: u32,
    circuit_breaker_timer: u32,
    tenant_created_at: Timestamp,
    owner_user_id: Uuid,
    owner_email: String,
    owner_role: RoleName,
    owner_created_at: Timestamp,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tenant)]
pub(crate) struct TenantView {
    id: Uuid,
    name: String,
    /// Attempts in all before a delivery is given up.
    #[serde(rename = "maxTrys")]
    max_attempts: u32,
    /// Seconds a destination's circuit breaker stays open.
    circuit_breaker_timer: u32,
    /// Days after their acceptance at which the payloads of events that have ended are erased; `null`:
    /// never.
    payload_retention_days: Option<u32>,
    /// Days after their acceptance at which events that have ended leave the lists, their payloads with
    /// them; `null`: never.
    event_retention_days: Option<u32>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Register a tenant.
///
/// Makes the tenant, its first user (an Owner) and its webhook secret, all or nothing. Log in next.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "Tenants", request_body = NewTenant,
    responses((status = 201, body = RegisteredTenant), (status = 400), (status = 409), (status = 429)))]
pub(crate) async fn register(
    State(tenants): State<Tenants>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    tenants.creations.hit(context.client)?;
    let new = NewTenant::read(body, &tenants.passwords).await?;
    let (tenant_id, owner) = (TenantId(identifiers::new_id()), UserId(identifiers::new_id()));
    let defaults = Resilience::default();
    let resilience = Resilience {
        max_attempts: new.max_attempts.unwrap_or(defaults.max_attempts),
        circuit_breaker_timer: new.circuit_breaker_timer.unwrap_or(defaults.circuit_breaker_timer),
    };
    let store = tenants.commands.store();
    // What is taken is said before the costly work; whether it still is free is decided by the append.
    if store.load::<Reservation>(Reservation::on_tenant_name(&new.name)).await?.state
        != Reservation::Available
    {
        return Err(Problem::name_taken(&new.name));
    }
    if store.load::<Reservation>(Reservation::on_email(&new.owner_email)).await?.state
        != Reservation::Available
    {
        return Err(Problem::email_taken(&new.owner_email));
    }
    let password_hash = tenants.passwords.hash(new.owner_password.clone()).await?;
    let secret = TokenKind::WebhookSecret.generate();
    let webhook_secret: WebhookSecret = webhook_secret::seal(&tenants.vault, tenant_id, &secret).await?;

    let at = clock::now();
    let metadata = context.metadata(tenant_id, Actor::Anonymous);
    let (new, webhook_secret, password_hash) = (&new, &webhook_secret, &password_hash);
    tenants
        .commands
        .together(&metadata, |mut streams| async move {
            let take_name = ReservationCommand::Reserve { holder: tenant_id.0, at };
            let name_taken = |_| Problem::name_taken(&new.name);
            streams
                .decide::<Reservation>(Reservation::on_tenant_name(&new.name), take_name, name_taken)
                .await?;
            let take_email = ReservationCommand::Reserve { holder: owner.0, at };
            let email_taken = |_| Problem::email_taken(&new.owner_email);
            streams
                .decide::<Reservation>(Reservation::on_email(&new.owner_email), take_email, email_taken)
                .await?;
            let register = TenantCommand::Register {
                name: new.name.clone(),
                owner,
                resilience,
                retention: tenants.retention,
                webhook_secret: webhook_secret.clone(),
                at,
            };
            streams.decide::<Tenant>(tenant_id.0, register, Problem::from).await?;
            let register = UserCommand::Register {
                tenant_id,
                email: new.owner_email.clone(),
                password_hash: password_hash.clone(),
                role: Role::Owner,
                at,
            };
            streams.decide::<User>(owner.0, register, Problem::from).await?;
            Ok((streams, ()))
        })
        .await?;
    let registered = RegisteredTenant {
        tenant_id: tenant_id.0,
        tenant_name: new.name.clone(),
        webhook_secret: secret.expose_secret().to_owned(),
        max_attempts: resilience.max_attempts,
        circuit_breaker_timer: resilience.circuit_breaker_timer,
        tenant_created_at: at.into(),
        owner_user_id: owner.0,
        owner_email: new.owner_email.to_string(),
        owner_role: RoleName::Owner,
        owner_created_at: at.into(),
    };
    Ok(Created { location: format!("/api/v1/tenants/{tenant_id}"), body: registered })
}

/// Look at the tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "Tenants",
    responses((status = 200, body = TenantView), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<TenantView>, Problem> {
    tenants.own(&caller, id).await.map(|tenant| Json(tenant.into()))
}

/// Rename the tenant, change how stubbornly it retries or how long it keeps what has ended.
///
/// A new `maxTrys` holds for events under way as well. What is kept for a shorter time goes within minutes
/// and does not come back; events still on their way never go. The history of every event stays.
#[utoipa::path(patch, path = "/api/v1/tenants/{id}", tag = "Tenants", request_body = TenantChange,
    responses((status = 200, body = TenantView), (status = 400), (status = 403), (status = 404),
        (status = 409)))]
pub(crate) async fn update(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<TenantView>, Problem> {
    let before = tenants.own(&caller, id).await?;
    let change = TenantChange::read(body).await?;
    let change = &change;
    let at = clock::now();
    let (account, changed) = tenants
        .commands
        .together(&caller.metadata(), |mut streams| async move {
            let mut tenant = streams.load::<Tenant>(id.0).await?;
            let Tenant::Registered(account) = &tenant.state else { return Err(Problem::not_found("tenant")) };
            let (old_name, old, kept) = (account.name.clone(), account.resilience, account.retention);
            let mut commands = vec![];
            if let Some(name) = change.name.as_ref().filter(|name| **name != old_name) {
                let take = ReservationCommand::Reserve { holder: id.0, at };
                let taken = |_| Problem::name_taken(name);
                streams.decide::<Reservation>(Reservation::on_tenant_name(name), take, taken).await?;
                let release = ReservationCommand::Release { holder: id.0, at };
                let old_claim = Reservation::on_tenant_name(&old_name);
                streams.decide::<Reservation>(old_claim, release, Problem::internal).await?;
                commands.push(TenantCommand::Rename { name: name.clone(), at });
            }
            let resilience = Resilience {
                max_attempts: change.max_attempts.unwrap_or(old.max_attempts),
                circuit_breaker_timer: change.circuit_breaker_timer.unwrap_or(old.circuit_breaker_timer),
            };
            commands.push(TenantCommand::ChangeResilience { resilience, at });
            let retention = Retention {
                payload_days: change.payload_retention_days.unwrap_or(kept.payload_days),
                event_days: change.event_retention_days.unwrap_or(kept.event_days),
            };
            commands.push(TenantCommand::ChangeRetention { retention, at });
            let facts = streams.decide_loaded(&mut tenant, commands, Problem::from)?;
            match tenant.state {
                Tenant::Registered(account) => Ok((streams, (account, !facts.is_empty()))),
                Tenant::Unknown => Err(Problem::not_found("tenant")),
            }
        })
        .await?;
    Ok(Json(TenantView {
        id: id.0,
        name: account.name,
        max_attempts: account.resilience.max_attempts,
        circuit_breaker_timer: account.resilience.circuit_breaker_timer,
        payload_retention_days: account.retention.payload_days,
        event_retention_days: account.retention.event_days,
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}

impl Tenants {
    /// The caller's tenant, if that is the one that is asked for.
    pub(crate) async fn own(&self, caller: &Caller, id: TenantId) -> Result<tenants::Tenant, Problem> {
        let pool = self.commands.pool();
        if id != caller.tenant_id {
            let exists = tenants::exists(&mut *pool.acquire().await?, id).await?;
            caller.check_owner(exists.then_some(id), "tenant")?;
        }
        let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
        let tenant = tenants::get(&mut scope).await?;
        scope.end().await?;
        tenant.ok_or_else(|| Problem::not_found("tenant"))
    }
}

impl NewTenant {
    async fn read(body: UnreadBody, passwords: &Passwords) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let name = fields.required("name", |value| validation::name(value, NAME_CHARS_MAX));
        // Clients of before send the first user as an admin.
        let (email, password) = match fields.has("ownerEmail") || !fields.has("adminEmail") {
            true => ("ownerEmail", "ownerPassword"),
            false => ("adminEmail", "adminPassword"),
        };
        let owner_email = fields.required(email, validation::email);
        let owner_password = fields.required(password, |value| validation::new_password(value, passwords));
        let max_attempts = fields.optional("maxTrys", validation::positive);
        let circuit_breaker_timer = fields.optional("circuitBreakerTimer", validation::positive);
        fields.complete(|| {
            Some(Self {
                name: name?,
                owner_email: owner_email?,
                owner_password: owner_password?,
                max_attempts,
                circuit_breaker_timer,
            })
        })
    }
}

impl TenantChange {
    async fn read(body: UnreadBody) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let name = fields.optional("name", |value| validation::name(value, NAME_CHARS_MAX));
        let max_attempts = fields.optional("maxTrys", validation::positive);
        let circuit_breaker_timer = fields.optional("circuitBreakerTimer", validation::positive);
        let payload_retention_days = fields.nullable("payloadRetentionDays", validation::retention_days);
        let event_retention_days = fields.nullable("eventRetentionDays", validation::retention_days);
        fields.complete(|| {
            Some(Self {
                name,
                max_attempts,
                circuit_breaker_timer,
                payload_retention_days,
                event_retention_days,
            })
        })
    }
}

impl From<tenants::Tenant> for TenantView {
    fn from(tenant: tenants::Tenant) -> Self {
        Self {
            id: tenant.id.0,
            name: tenant.name,
            max_attempts: tenant.resilience.max_attempts,
            circuit_breaker_timer: tenant.resilience.circuit_breaker_timer,
            payload_retention_days: tenant.retention.payload_days,
            event_retention_days: tenant.retention.event_days,
            created_at: tenant.created_at.into(),
            updated_at: tenant.updated_at.into(),
        }
    }
}
