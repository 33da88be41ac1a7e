//! The vault on a real PostgreSQL.

use std::collections::HashSet;

use aggregates::email::Email;
use aggregates::ids::TenantId;
use aggregates::sealed::Sealed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hooksentry::secrets::master_keys::MasterKeys;
use hooksentry::secrets::rewrap::{Progress, rewrap};
use hooksentry::secrets::vault::{Vault, VaultFailure};
use secrecy::ExposeSecret;
use sqlx::PgPool;
use uuid::Uuid;

const CONTEXT: &str = "webhook-secret";

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn keys(bytes: &[u8]) -> MasterKeys {
    bytes.iter().copied().map(key).collect::<Vec<_>>().join(",").parse().unwrap()
}

/// Returns a vault with an empty cache, like that of another process.
fn vault(pool: &PgPool, bytes: &[u8]) -> Vault {
    Vault::new(pool.clone(), keys(bytes))
}

async fn open(vault: &Vault, number: u128, context: &str, sealed: &Sealed) -> Result<String, VaultFailure> {
    let opened = vault.open_text(tenant(number), context, sealed).await?;
    Ok(opened.expose_secret().to_owned())
}

#[sqlx::test]
async fn a_secret_sealed_by_one_process_is_opened_by_another(pool: PgPool) {
    let sealed = vault(&pool, &[1]).seal(tenant(1), CONTEXT, b"whsec_test").await.unwrap();
    assert_eq!(open(&vault(&pool, &[1]), 1, CONTEXT, &sealed).await.unwrap(), "whsec_test");
    assert!(!sealed.ciphertext.contains("whsec"));
}

#[sqlx::test]
async fn a_sealed_secret_opens_for_its_tenant_and_context_only(pool: PgPool) {
    let vault = vault(&pool, &[1]);
    let sealed = vault.seal(tenant(1), CONTEXT, b"secret").await.unwrap();
    let others = vault.seal(tenant(2), CONTEXT, b"secret").await.unwrap();
    assert_ne!(sealed.data_key, others.data_key);

    let elsewhere = open(&vault, 1, "destination:1", &sealed).await;
    assert!(matches!(elsewhere, Err(VaultFailure::NotAuthentic)), "{elsewhere:?}");
    let foreign = open(&vault, 2, CONTEXT, &sealed).await;
    assert!(matches!(foreign, Err(VaultFailure::UnknownDataKey { .. })), "{foreign:?}");
    let transplanted = Sealed { data_key: others.data_key, ..sealed };
    let foreign = open(&vault, 2, CONTEXT, &transplanted).await;
    assert!(matches!(foreign, Err(VaultFailure::NotAuthentic)), "{foreign:?}");
}

#[sqlx::test]
async fn an_altered_secret_does_not_open(pool: PgPool) {
    let vault = vault(&pool, &[1]);
    let sealed = vault.seal(tenant(1), CONTEXT, b"secret").await.unwrap();
    let mut bytes = STANDARD.decode(&sealed.ciphertext).unwrap();
    bytes[20] ^= 1;
    for ciphertext in [STANDARD.encode(&bytes), "not base64!".to_owned(), String::new(), "AAAA".to_owned()] {
        let altered = Sealed { ciphertext, ..sealed.clone() };
        let refused = open(&vault, 1, CONTEXT, &altered).await;
        assert!(matches!(refused, Err(VaultFailure::NotAuthentic)), "{refused:?}");
    }
}

#[sqlx::test]
async fn a_damaged_and_a_deleted_data_key_are_distinguished(pool: PgPool) {
    let sealed = vault(&pool, &[1]).seal(tenant(1), CONTEXT, b"secret").await.unwrap();
    sqlx::query("UPDATE data_keys SET wrapped = set_byte(wrapped, 30, get_byte(wrapped, 30) # 1)")
        .execute(&pool)
        .await
        .unwrap();
    let refused = open(&vault(&pool, &[1]), 1, CONTEXT, &sealed).await;
    assert!(matches!(refused, Err(VaultFailure::DamagedDataKey { .. })), "{refused:?}");

    sqlx::query("DELETE FROM data_keys").execute(&pool).await.unwrap();
    let refused = open(&vault(&pool, &[1]), 1, CONTEXT, &sealed).await;
    assert!(
        matches!(refused, Err(VaultFailure::UnknownDataKey { data_key }) if data_key == sealed.data_key),
        "{refused:?}"
    );
}

#[sqlx::test]
async fn concurrent_processes_create_one_data_key_for_a_tenant(pool: PgPool) {
    let vaults: Vec<Vault> = (0..16).map(|_| vault(&pool, &[1])).collect();
    let seals = vaults.iter().map(|vault| vault.seal(tenant(1), CONTEXT, b"secret"));
    let sealed = futures::future::try_join_all(seals).await.unwrap();
    assert_eq!(sealed.iter().map(|sealed| sealed.data_key).collect::<HashSet<_>>().len(), 1);
    for sealed in &sealed {
        assert_eq!(open(&vault(&pool, &[1]), 1, CONTEXT, sealed).await.unwrap(), "secret");
    }
}

#[sqlx::test]
async fn a_missing_master_key_is_named(pool: PgPool) {
    let sealed = vault(&pool, &[1]).seal(tenant(1), CONTEXT, b"secret").await.unwrap();
    let with_another = vault(&pool, &[2]);
    let refused = open(&with_another, 1, CONTEXT, &sealed).await;
    assert!(
        matches!(&refused, Err(VaultFailure::UnknownMasterKey { master_key, .. }) if master_key == keys(&[1]).first()),
        "{refused:?}"
    );
    let missing = with_another.missing_master_keys().await.unwrap();
    assert_eq!(missing.len(), 1);
    assert_eq!((&missing[0].master_key, missing[0].data_keys), (keys(&[1]).first(), 1));
    assert!(vault(&pool, &[2, 1]).missing_master_keys().await.unwrap().is_empty());
}

#[sqlx::test]
async fn a_master_key_is_replaced_without_changing_sealed_secrets(pool: PgPool) {
    let old = vault(&pool, &[1]);
    // More than one batch.
    let mut sealed = Vec::new();
    for number in 0..501 {
        sealed.push(old.seal(tenant(number), CONTEXT, format!("secret {number}").as_bytes()).await.unwrap());
    }
    let both = vault(&pool, &[2, 1]);
    assert_eq!(open(&both, 0, CONTEXT, &sealed[0]).await.unwrap(), "secret 0");
    let younger = both.seal(tenant(1_000), CONTEXT, b"younger").await.unwrap();

    let mut steps = Vec::new();
    let first_run = rewrap(&pool, &keys(&[2, 1]), |progress| steps.push(progress)).await.unwrap();
    assert_eq!((first_run.rewrapped, first_run.already_current), (501, 1));
    assert_eq!(first_run.unreadable, []);
    assert_eq!(steps, [Progress { done: 500, total: 501 }, Progress { done: 501, total: 501 }]);

    let second_run = rewrap(&pool, &keys(&[2, 1]), |_| panic!("nothing is left to rewrap")).await.unwrap();
    assert_eq!((second_run.rewrapped, second_run.already_current), (0, 502));

    let new = vault(&pool, &[2]);
    for (number, sealed) in (0..501).zip(&sealed) {
        assert_eq!(open(&new, number, CONTEXT, sealed).await.unwrap(), format!("secret {number}"));
    }
    assert_eq!(open(&new, 1_000, CONTEXT, &younger).await.unwrap(), "younger");
    assert!(new.missing_master_keys().await.unwrap().is_empty());
    let refused = open(&vault(&pool, &[1]), 7, CONTEXT, &sealed[7]).await;
    assert!(matches!(refused, Err(VaultFailure::UnknownMasterKey { .. })), "{refused:?}");
}

#[sqlx::test]
async fn data_keys_that_cannot_be_unwrapped_are_skipped_and_counted(pool: PgPool) {
    vault(&pool, &[1]).seal(tenant(1), CONTEXT, b"a").await.unwrap();
    vault(&pool, &[3]).seal(tenant(2), CONTEXT, b"b").await.unwrap();
    vault(&pool, &[1]).seal(tenant(3), CONTEXT, b"c").await.unwrap();
    let outcome = rewrap(&pool, &keys(&[2, 1]), |_| ()).await.unwrap();
    assert_eq!((outcome.rewrapped, outcome.already_current), (2, 0));
    assert_eq!(outcome.unreadable.len(), 1);
    assert_eq!((&outcome.unreadable[0].master_key, outcome.unreadable[0].data_keys), (keys(&[3]).first(), 1));
}

#[sqlx::test]
async fn the_reservation_of_an_email_survives_a_new_master_key_and_cannot_be_computed_elsewhere(
    pool: PgPool,
) {
    let email = |text| Email::parse(text).unwrap();
    let reserved = vault(&pool, &[1]).email_reservation(&email("alice@example.com")).await.unwrap();
    rewrap(&pool, &keys(&[2, 1]), |_| ()).await.unwrap();
    let again = vault(&pool, &[2]);
    assert_eq!(again.email_reservation(&email(" Alice@Example.COM")).await.unwrap(), reserved);
    assert_ne!(again.email_reservation(&email("bob@example.com")).await.unwrap(), reserved);

    // Another installation with the same master key.
    sqlx::query("DELETE FROM data_keys").execute(&pool).await.unwrap();
    let elsewhere = vault(&pool, &[2]).email_reservation(&email("alice@example.com")).await.unwrap();
    assert_ne!(elsewhere, reserved);
}

#[sqlx::test]
async fn the_event_of_an_idempotency_key_is_the_same_in_all_processes_and_after_a_rotation(pool: PgPool) {
    let first = vault(&pool, &[1]);
    for number in 1..=2 {
        first.seal(tenant(number), CONTEXT, b"a secret").await.unwrap();
    }
    let event = first.event_id(tenant(1), "order-7").await.unwrap();
    assert_eq!(event.0.get_version_num(), 8);
    assert_ne!(first.event_id(tenant(1), "order-8").await.unwrap(), event);
    assert_ne!(first.event_id(tenant(2), "order-7").await.unwrap(), event);
    assert_eq!(vault(&pool, &[1]).event_id(tenant(1), "order-7").await.unwrap(), event);

    rewrap(&pool, &keys(&[2, 1]), |_| ()).await.unwrap();
    assert_eq!(vault(&pool, &[2]).event_id(tenant(1), "order-7").await.unwrap(), event);
}

#[sqlx::test]
async fn without_the_data_key_there_is_no_event_of_an_idempotency_key(pool: PgPool) {
    vault(&pool, &[1]).seal(tenant(1), CONTEXT, b"a secret").await.unwrap();
    let refused = vault(&pool, &[2]).event_id(tenant(1), "order-7").await;
    assert!(matches!(refused, Err(VaultFailure::UnknownMasterKey { .. })), "{refused:?}");

    sqlx::query("DELETE FROM data_keys").execute(&pool).await.unwrap();
    let refused = vault(&pool, &[1]).event_id(tenant(1), "order-7").await;
    assert!(matches!(refused, Err(VaultFailure::NoDataKey)), "{refused:?}");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM data_keys").fetch_one(&pool).await.unwrap();
    assert_eq!(count, 0, "with another data key every repeated webhook would be new");
}
