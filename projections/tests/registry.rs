//! What every registered read model declares.

use std::collections::BTreeSet;

use aggregates::api_key::ApiKeyFact;
use aggregates::destination::{AuthType, DestinationFact};
use aggregates::fact::Fact;
use aggregates::ids::{ApiKeyId, DestinationId, InviteId, PortalLinkId, SenderId, SessionId, UserId};
use aggregates::invite::InviteFact;
use aggregates::portal_link::{PortalAccess, PortalLinkFact};
use aggregates::role::Role;
use aggregates::sender::SenderFact;
use aggregates::session::{Closing, SessionFact};
use aggregates::tenant::{Retention, TenantFact};
use aggregates::user::UserFact;
use projections::Projection;
use sqlx::PgPool;

use crate::given::{
    ACME, Log, at, auth, destination_registered, hash, id, logged_in, sealed, secret, sender_registered,
    suspended, tenant_registered, user_registered,
};

#[test]
fn a_projection_is_found_by_its_name() {
    for projection in Projection::ALL {
        assert_eq!(Projection::from_name(projection.name()), Some(projection));
        assert_eq!(projection.tables().first(), Some(&projection.name()));
    }
    assert_eq!(Projection::from_name("events"), None);
}

#[test]
fn projections_fold_aggregates_of_the_log() {
    for projection in Projection::ALL {
        assert!(!projection.aggregates().is_empty(), "{projection:?}");
        for aggregate in projection.aggregates() {
            assert!(Fact::AGGREGATES.contains(aggregate), "{projection:?} {aggregate}");
        }
    }
}

#[test]
fn projections_share_no_tables() {
    let tables: Vec<&str> =
        Projection::ALL.iter().flat_map(|projection| projection.tables()).copied().collect();
    assert_eq!(tables.iter().collect::<BTreeSet<_>>().len(), tables.len(), "{tables:?}");
}

/// Facts that set each column of the configuration read models in some row.
fn configuration() -> Log {
    let (user, session, invite) = (id::<UserId>(1), id::<SessionId>(2), id::<InviteId>(3));
    let (key, destination, sender) = (id::<ApiKeyId>(4), id::<DestinationId>(5), id::<SenderId>(6));
    let retention = Retention { payload_days: Some(7), event_days: Some(30) };
    let replaced = TenantFact::WebhookSecretRegenerated {
        webhook_secret: secret("second"),
        previous_signs_until: Some(at(9)),
        at: at(2),
    };
    let suspended_tenant = TenantFact::TenantSuspended { reason: "spam".to_owned(), at: at(3) };
    let issued = |token| InviteFact::InviteIssued {
        tenant_id: ACME,
        target_role: Role::Viewer,
        issued_by: Some(user),
        token_hash: hash(token),
        token: sealed(token),
        expires_at: at(9),
        at: at(1),
    };
    let key_issued = ApiKeyFact::ApiKeyIssued {
        tenant_id: ACME,
        name: "key".to_owned(),
        key_hash: hash("key"),
        at: at(1),
    };
    let link_created = PortalLinkFact::PortalLinkCreated {
        tenant_id: ACME,
        destination_id: destination,
        access: PortalAccess::Read,
        label: "Shop Ltd".to_owned(),
        token_hash: hash("link"),
        expires_at: at(9),
        at: at(1),
    };
    let authenticated =
        DestinationFact::OutboundAuthConfigured { auth: auth(AuthType::BasicAuth, "x"), at: at(2) };
    Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, ACME, TenantFact::RetentionChanged { retention, at: at(1) })
        .with(ACME, ACME, replaced)
        .with(ACME, ACME, suspended_tenant)
        .with(ACME, user, user_registered("a@acme.example", Role::Owner))
        .with(ACME, id::<UserId>(7), user_registered("b@acme.example", Role::Viewer))
        .with(ACME, id::<UserId>(7), UserFact::UserDeactivated { at: at(1) })
        .with(ACME, id::<UserId>(7), UserFact::UserDeleted { at: at(2) })
        .with(ACME, session, logged_in(user, "refresh"))
        .with(ACME, session, SessionFact::LoggedOut { closing: Closing::Logout, at: at(2) })
        .with(ACME, invite, issued("invite"))
        .with(ACME, invite, InviteFact::InviteAccepted { user_id: user, at: at(2) })
        .with(ACME, id::<InviteId>(8), issued("another"))
        .with(ACME, id::<InviteId>(8), InviteFact::InviteRevoked { at: at(2) })
        .with(ACME, key, key_issued)
        .with(ACME, key, ApiKeyFact::ApiKeyRevoked { at: at(2) })
        .with(ACME, id::<PortalLinkId>(9), link_created)
        .with(ACME, id::<PortalLinkId>(9), PortalLinkFact::PortalLinkRevoked { at: at(2) })
        .with(ACME, destination, destination_registered(ACME, "https://a.example/"))
        .with(ACME, destination, authenticated)
        .with(ACME, destination, suspended(at(9)))
        .with(ACME, sender, sender_registered(destination, "sender"))
        .with(ACME, sender, SenderFact::MappingSet { mapping: "{}".to_owned(), at: at(2) })
        .with(ACME, sender, SenderFact::SenderDeleted { at: at(3) })
}

/// The compiler does not compare the columns that a read model declares with its table. A declared column
/// that the table lacks makes a statement fail; one that is not declared would stay NULL.
#[sqlx::test(migrations = "../migrations")]
async fn configuration_read_models_write_each_column_of_their_tables(pool: PgPool) {
    configuration().fold_into_all(&pool).await;
    let configuration_models =
        Projection::ALL.into_iter().filter(|projection| !projection.folds("WebhookEvent"));
    for table in configuration_models.flat_map(|projection| projection.tables()) {
        let columns = "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1";
        let columns: Vec<String> = sqlx::query_scalar(columns).bind(table).fetch_all(&pool).await.unwrap();
        assert!(!columns.is_empty(), "{table}");
        for column in columns {
            let query = format!("SELECT count({column}) FROM {table}");
            let written: i64 = sqlx::query_scalar(&query).fetch_one(&pool).await.unwrap();
            assert!(written > 0, "no row has {table}.{column}");
        }
    }
}
