use aggregates::destination::{AuthType, DestinationFact, Stage};
use aggregates::ids::DestinationId;
use aggregates::tenant::TenantFact;
use projections::delivery_settings;
use projections::tenants::PreviousSecret;
use sqlx::PgPool;

use crate::given::{ACME, Log, at, auth, destination_registered, id, secret, tenant_registered};

async fn settings(pool: &PgPool, destination_id: DestinationId) -> delivery_settings::DeliverySettings {
    let mut connection = pool.acquire().await.unwrap();
    delivery_settings::get(&mut connection, destination_id).await.unwrap().unwrap()
}

fn replaced(by: &str, previous_signs_until: Option<i64>) -> TenantFact {
    TenantFact::WebhookSecretRegenerated {
        webhook_secret: secret(by),
        previous_signs_until: previous_signs_until.map(at),
        at: at(1),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn settings_are_those_of_the_destination_and_its_tenant(pool: PgPool) {
    let destination = id::<DestinationId>(1);
    let configured = DestinationFact::OutboundAuthConfigured {
        auth: auth(AuthType::BearerToken, "credentials"),
        at: at(1),
    };
    let limited = DestinationFact::ConcurrencyLimitChanged { concurrency_limit: 9, at: at(2) };
    Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, destination, destination_registered(ACME, "https://a.example/"))
        .with(ACME, destination, configured)
        .with(ACME, destination, limited)
        .fold_into_all(&pool)
        .await;

    let found = settings(&pool, destination).await;
    assert_eq!((found.destination_id, found.tenant_id), (destination, ACME));
    assert_eq!(found.url, "https://a.example/");
    assert_eq!(found.concurrency_limit, 9);
    assert_eq!(found.auth, Some(auth(AuthType::BearerToken, "credentials")));
    assert_eq!(found.stage, Stage::Active);
    assert_eq!(found.resilience.max_attempts, 10);
    assert_eq!(found.webhook_secret, secret("first"));
    assert_eq!(found.previous_secret, None);
    assert_eq!((found.destination_version, found.tenant_version), (3, 1));

    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(delivery_settings::get(&mut connection, id(2)).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_replaced_secret_keeps_signing_only_until_the_given_time(pool: PgPool) {
    let destination = id::<DestinationId>(1);
    let log = Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, destination, destination_registered(ACME, "https://a.example/"))
        .with(ACME, ACME, replaced("second", Some(100)));
    log.fold_into_all(&pool).await;
    let found = settings(&pool, destination).await;
    assert_eq!(found.webhook_secret, secret("second"));
    assert_eq!(found.previous_secret, Some(PreviousSecret { secret: secret("first"), signs_until: at(100) }));

    log.with(ACME, ACME, replaced("third", None)).fold_into_all(&pool).await;
    let found = settings(&pool, destination).await;
    assert_eq!(found.webhook_secret, secret("third"));
    assert_eq!(found.previous_secret, None);
    assert_eq!(found.tenant_version, 3);
}
