//! `POST /api/v1/tenants`

use aggregates::ids::{TenantId, UserId};
use aggregates::reservation::{Reservation, ReservationCommand};
use aggregates::role::Role;
use aggregates::tenant::{Resilience, Tenant, TenantCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Tenants, webhook_secret};
use crate::api::http::body::{SMALL_BODY_BYTES_MAX, UnreadBody};
use crate::api::http::created::Created;
use crate::api::http::fields::number::PositiveNumber;
use crate::api::http::fields::text::{EmailText, NameText, PasswordText, TokenText};
use crate::api::http::fields::{RequestBody, body};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::RoleName;
use crate::api::v1::users::{self, NewAccount};
use crate::config::Registration;
use crate::event_store::NewEmail;
use crate::secrets::passwords::Passwords;
use crate::secrets::tenant_invitations::TenantInvitation;
use crate::secrets::token::TokenKind;
use crate::{clock, identifiers};

body! {
    /// Registration of a tenant and its first user.
    NewTenant with Passwords {
        /// Unique in the installation.
        name: NameText = "name",
        owner_email: EmailText = "ownerEmail",
        owner_password: PasswordText = "ownerPassword",
        /// Attempts after which a delivery is given up. Default: 10.
        max_attempts: Option<PositiveNumber> = "maxTrys",
        /// Seconds for which a destination's circuit breaker stays open. Default: 300.
        circuit_breaker_timer: Option<PositiveNumber> = "circuitBreakerTimer",
        /// Invitation of the operator, which can be used once. Required if the installation allows registrations by
        /// invitation only; ignored if registration is open.
        invitation: Option<TokenText> = "invitation",
    }
}

/// Names under which older clients send the first user.
const ALIASES: &[(&str, &str)] = &[("ownerEmail", "adminEmail"), ("ownerPassword", "adminPassword")];

/// A newly registered tenant and its first user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredTenant {
    tenant_id: Uuid,
    tenant_name: String,
    /// Key with which every delivery is signed.
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

/// Register a tenant
///
/// Creates the tenant, its webhook secret and its first user, who is an Owner. Log in with that user next. An
/// installation may require an invitation, or allow no registrations.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "Tenants", request_body = NewTenant,
    responses((status = 201, body = RegisteredTenant, description = "The tenant, its webhook secret and its first user."),
        (status = 400), (status = 403), (status = 409), (status = 429)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    tenants.creations.hit(context.client)?;
    if tenants.registration == Registration::Closed {
        return Err(registration_refused("This installation allows no registrations of tenants."));
    }
    let fields = body.fields(SMALL_BODY_BYTES_MAX).await?.with_aliases(ALIASES);
    let new = NewTenant::parse(fields, &tenants.passwords)?;
    let (tenant_id, owner) = (TenantId(identifiers::new_id()), UserId(identifiers::new_id()));
    let resilience = new.resilience();
    let invitation = tenants.check_invitation(&new, clock::now())?.map(|invitation| invitation.id);
    let reservation = tenants.vault.email_reservation(&new.owner_email).await?;
    tenants.check_free(&new, reservation, invitation).await?;
    let password_hash = tenants.passwords.hash(new.owner_password.clone(), context.requester()).await?;
    let secret = TokenKind::WebhookSecret.generate();
    let webhook_secret = webhook_secret::seal(&tenants.vault, tenant_id, &secret).await?;
    let at = clock::now();
    let register_tenant = TenantCommand::Register {
        name: new.name.clone(),
        owner,
        resilience,
        retention: tenants.retention,
        webhook_secret,
        at,
    };
    let account = NewAccount {
        id: owner,
        tenant_id,
        email: NewEmail::new(new.owner_email.clone()),
        reservation,
        password_hash,
        role: Role::Owner,
        at,
    };
    let metadata = context.metadata_of_stranger(tenant_id, owner);
    let (new, register_tenant, account) = (&new, &register_tenant, &account);
    tenants
        .commands
        .transact(&metadata, |mut work| async move {
            let reserve_name = ReservationCommand::Reserve { holder: tenant_id.0, at };
            let name_taken = |_| Problem::name_taken(&new.name);
            work.decide::<Reservation>(Reservation::on_tenant_name(&new.name), reserve_name, name_taken)
                .await?;
            if let Some(invitation) = invitation {
                let use_up = ReservationCommand::Reserve { holder: tenant_id.0, at };
                let id = Reservation::on_tenant_invitation(invitation);
                work.decide::<Reservation>(id, use_up, |_| invitation_used()).await?;
            }
            work.decide::<Tenant>(tenant_id.0, register_tenant.clone(), Problem::from).await?;
            users::register(&mut work, account).await?;
            Ok((work, ()))
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
        owner_role: Role::Owner.into(),
        owner_created_at: at.into(),
    };
    Ok(Created { location: format!("/api/v1/tenants/{tenant_id}"), body: registered })
}

impl NewTenant {
    fn resilience(&self) -> Resilience {
        let defaults = Resilience::default();
        Resilience {
            max_attempts: self.max_attempts.unwrap_or(defaults.max_attempts),
            circuit_breaker_timer: self.circuit_breaker_timer.unwrap_or(defaults.circuit_breaker_timer),
        }
    }
}

impl Tenants {
    /// Returns the invitation to use up; `None`: none is needed.
    fn check_invitation(
        &self,
        new: &NewTenant,
        now: DateTime<Utc>,
    ) -> Result<Option<TenantInvitation>, Problem> {
        if self.registration != Registration::Invitation {
            return Ok(None);
        }
        let token = new.invitation.as_ref().ok_or_else(|| {
            registration_refused(
                "This installation allows registrations of tenants by invitation only: send the invitation of its \
                 operator in `invitation`.",
            )
        })?;
        let invitation = self.invitations.verify(token.expose_secret());
        let invitation = invitation
            .ok_or_else(|| registration_refused("`invitation` is not an invitation of this installation."))?;
        if invitation.expires_at <= now {
            return Err(Problem::new(Kind::InviteExpired, "The invitation has expired."));
        }
        Ok(Some(invitation))
    }

    /// Refuses a name, an email address or an invitation that is in use before a password is hashed, which is costly.
    /// The append decides.
    async fn check_free(
        &self,
        new: &NewTenant,
        email_reservation: Uuid,
        invitation: Option<Uuid>,
    ) -> Result<(), Problem> {
        let store = self.commands.store();
        if let Some(invitation) = invitation {
            let id = Reservation::on_tenant_invitation(invitation);
            if store.load::<Reservation>(id).await?.state != Reservation::Available {
                return Err(invitation_used());
            }
        }
        let name = store.load::<Reservation>(Reservation::on_tenant_name(&new.name)).await?;
        if name.state != Reservation::Available {
            return Err(Problem::name_taken(&new.name));
        }
        let email = store.load::<Reservation>(email_reservation).await?;
        if email.state != Reservation::Available {
            return Err(Problem::email_taken(&new.owner_email));
        }
        Ok(())
    }
}

fn registration_refused(detail: &'static str) -> Problem {
    Problem::new(Kind::RegistrationRefused, detail)
}

fn invitation_used() -> Problem {
    Problem::new(Kind::InviteUsed, "The invitation was used to register another tenant.")
}
