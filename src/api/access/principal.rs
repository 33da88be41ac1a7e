//! Principals of the routes about deliveries: users, and holders of portal links.
//!
//! A portal link shows one destination. No route can forget that: a handler that takes a [`Caller`] refuses portal links,
//! and one that takes a [`Principal`] gets tenant and destination from its [`DeliveryScope`] only, which checks what the
//! handler is about to show.

use aggregates::access::Reader;
use aggregates::ids::{DestinationId, PortalLinkId, TenantId};
use aggregates::portal_link::PortalAccess;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use projections::portal_links::UnrevokedPortalLink;
use projections::webhook_events::WebhookEvent;

use crate::api::access::authentication::Caller;
use crate::api::access::permissions::Permission;
use crate::api::http::problem::Problem;
use crate::api::http::request_context::RequestContext;
use crate::event_store::Metadata;
use crate::security_log::Subject;

/// Caller who may hold a portal link instead of an access token.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    User(Caller),
    PortalLink(PortalCaller),
}

/// The holder of a portal link that is in force.
#[derive(Clone, Debug)]
pub(crate) struct PortalCaller {
    pub(crate) id: PortalLinkId,
    tenant_id: TenantId,
    pub(crate) destination_id: DestinationId,
    pub(crate) access: PortalAccess,
    pub(crate) expires_at: DateTime<Utc>,
    context: RequestContext,
}

/// What of the deliveries of a tenant a caller may see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryScope {
    tenant_id: TenantId,
    /// `None`: all.
    destination_id: Option<DestinationId>,
}

/// A caller who is shown deliveries.
pub(crate) trait DeliveryViewer {
    fn scope(&self) -> DeliveryScope;

    /// Returns who is recorded as having been shown something.
    fn reader(&self) -> Reader;

    /// Returns the metadata of facts that the caller causes.
    fn metadata(&self) -> Metadata;
}

impl Principal {
    /// Checks that the caller has a permission.
    ///
    /// # Errors
    /// A problem of kind `RoleForbids` or `PortalLinkForbids`.
    pub(super) fn check(&self, permission: Permission) -> Result<(), Problem> {
        match self {
            Self::User(caller) => permission.check(caller.role),
            Self::PortalLink(link) => permission.check_portal_link(link.access),
        }
    }

    /// Returns whom refusals of the caller are about.
    pub(super) fn subject(&self) -> Subject {
        let user_id = match self {
            Self::User(caller) => Some(caller.user_id),
            Self::PortalLink(_) => None,
        };
        Subject { tenant_id: self.scope().tenant_id, user_id }
    }
}

impl PortalCaller {
    pub(super) fn new(link: UnrevokedPortalLink, context: RequestContext) -> Self {
        Self {
            id: link.id,
            tenant_id: link.tenant_id,
            destination_id: link.destination_id,
            access: link.access,
            expires_at: link.expires_at,
            context,
        }
    }
}

impl DeliveryScope {
    /// Returns the tenant in which to look for something that is passed to [`admit`](Self::admit) before it is shown.
    pub(crate) fn searched_tenant(self) -> TenantId {
        self.tenant_id
    }

    /// Checks that the caller may see an event. A portal link is told that there is none, so that it learns nothing of
    /// other destinations.
    ///
    /// # Errors
    /// The event belongs to another tenant, or the portal link is one to another destination.
    pub(crate) fn admit(self, event: &WebhookEvent) -> Result<(), Problem> {
        let is_of_tenant = event.tenant_id == self.tenant_id;
        match self.destination_id {
            None if is_of_tenant => Ok(()),
            None => Err(Problem::other_tenant("event")),
            Some(own) if is_of_tenant && own == event.destination_id => Ok(()),
            Some(_) => Err(Problem::not_found("event")),
        }
    }

    /// Returns the tenant of the caller, who may see a destination of it. Whether the destination exists is not checked.
    ///
    /// # Errors
    /// The portal link is one to another destination.
    pub(crate) fn admit_destination(self, id: DestinationId) -> Result<TenantId, Problem> {
        match self.destination_id {
            Some(own) if own != id => Err(Problem::not_found("destination")),
            _ => Ok(self.tenant_id),
        }
    }

    /// Returns the tenant of the caller, and the destination that a list is restricted to: the given one, or that of the
    /// portal link.
    ///
    /// # Errors
    /// The portal link is one to another destination.
    pub(crate) fn narrow(
        self,
        given: Option<DestinationId>,
    ) -> Result<(TenantId, Option<DestinationId>), Problem> {
        match (self.destination_id, given) {
            (Some(own), Some(given)) if own != given => {
                Err(Problem::portal_link_forbids("The portal link shows another destination."))
            }
            (own, given) => Ok((self.tenant_id, own.or(given))),
        }
    }

    /// Returns whether the caller sees what the people of the tenant have written or done, and how the service runs.
    pub(crate) fn shows_internals(self) -> bool {
        self.destination_id.is_none()
    }
}

impl DeliveryViewer for Caller {
    fn scope(&self) -> DeliveryScope {
        DeliveryScope { tenant_id: self.tenant_id, destination_id: None }
    }

    fn reader(&self) -> Reader {
        Reader::User(self.user_id)
    }

    fn metadata(&self) -> Metadata {
        Self::metadata(self)
    }
}

impl DeliveryViewer for PortalCaller {
    fn scope(&self) -> DeliveryScope {
        DeliveryScope { tenant_id: self.tenant_id, destination_id: Some(self.destination_id) }
    }

    fn reader(&self) -> Reader {
        Reader::PortalLink(self.id)
    }

    fn metadata(&self) -> Metadata {
        self.context.metadata_of_portal_link(self.tenant_id, self.id)
    }
}

impl DeliveryViewer for Principal {
    fn scope(&self) -> DeliveryScope {
        match self {
            Self::User(caller) => caller.scope(),
            Self::PortalLink(link) => link.scope(),
        }
    }

    fn reader(&self) -> Reader {
        match self {
            Self::User(caller) => caller.reader(),
            Self::PortalLink(link) => link.reader(),
        }
    }

    fn metadata(&self) -> Metadata {
        match self {
            Self::User(caller) => caller.metadata(),
            Self::PortalLink(link) => link.metadata(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Self>().cloned();
        principal
            .ok_or_else(|| Problem::internal("a handler requires a caller on a route without authentication"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Principal::from_request_parts(parts, state).await? {
            Principal::User(caller) => Ok(caller),
            Principal::PortalLink(_) => Err(Problem::portal_link_forbids("Only users may do this.")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PortalCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Principal::from_request_parts(parts, state).await? {
            Principal::PortalLink(link) => Ok(link),
            Principal::User(_) => Err(Problem::internal("a route for portal links admits users")),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_portal_link_is_narrowed_to_its_destination() {
        let tenant_id = TenantId(Uuid::from_u128(1));
        let id = |number| DestinationId(Uuid::from_u128(number));
        let link = DeliveryScope { tenant_id, destination_id: Some(id(7)) };
        let user = DeliveryScope { tenant_id, destination_id: None };
        for given in [None, Some(id(7))] {
            assert_eq!(link.narrow(given).unwrap(), (tenant_id, Some(id(7))));
            assert_eq!(user.narrow(given).unwrap(), (tenant_id, given));
        }
        assert!(link.narrow(Some(id(8))).is_err());
        assert!(link.admit_destination(id(8)).is_err());
        assert_eq!(link.admit_destination(id(7)).unwrap(), tenant_id);
        assert_eq!(user.admit_destination(id(8)).unwrap(), tenant_id);
        assert!(user.shows_internals() && !link.shows_internals());
    }
}
