//! The table `data_keys`: one wrapped key for each tenant.

use aggregates::ids::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::master_keys::MasterKeyId;

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct WrappedKey {
    pub(super) id: Uuid,
    pub(super) tenant_id: TenantId,
    pub(super) wrapped_under: MasterKeyId,
    pub(super) wrapped: Vec<u8>,
}

/// Number of data keys that are wrapped with a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUnder {
    pub master_key: MasterKeyId,
    pub data_keys: u64,
}

/// Returns the data key of a tenant.
#[tracing::instrument(name = "db.data_keys.find", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Option<WrappedKey>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT id, wrapping_key_id, wrapped
         FROM data_keys
         WHERE tenant_id = $1",
        tenant.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| WrappedKey {
        id: row.id,
        tenant_id: tenant,
        wrapped_under: MasterKeyId(row.wrapping_key_id),
        wrapped: row.wrapped,
    }))
}

/// Stores a new data key, unless the tenant has one already.
#[tracing::instrument(name = "db.data_keys.offer", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn offer(connection: &mut PgConnection, key: &WrappedKey) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO data_keys (id, tenant_id, wrapping_key_id, wrapped)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id) DO NOTHING",
        key.id,
        key.tenant_id.0,
        key.wrapped_under.0,
        key.wrapped,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the next data keys after `after` that are not wrapped with `first`, locked until the transaction
/// ends.
#[tracing::instrument(name = "db.data_keys.page", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn page_not_under(
    transaction: &mut PgConnection,
    first: &MasterKeyId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WrappedKey>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, tenant_id, wrapping_key_id, wrapped
         FROM data_keys
         WHERE wrapping_key_id <> $1
           AND id > $2
         ORDER BY id
         LIMIT $3
         FOR UPDATE",
        first.0,
        after,
        limit,
    )
    .fetch_all(transaction)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| WrappedKey {
            id: row.id,
            tenant_id: TenantId(row.tenant_id),
            wrapped_under: MasterKeyId(row.wrapping_key_id),
            wrapped: row.wrapped,
        })
        .collect())
}

/// Stores the new wrapping of data keys.
#[tracing::instrument(name = "db.data_keys.rewrap", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn rewrap(transaction: &mut PgConnection, keys: &[WrappedKey]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE data_keys
         SET wrapping_key_id = rewrapped.wrapping_key_id,
             wrapped = rewrapped.wrapped
         FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS rewrapped (id, wrapping_key_id, wrapped)
         WHERE data_keys.id = rewrapped.id",
        &keys.iter().map(|key| key.id).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.wrapped_under.0.clone()).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.wrapped.clone()).collect::<Vec<_>>(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Returns the master keys that wrap data keys, with the number of those.
#[tracing::instrument(name = "db.data_keys.count", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn count_by_master_key(
    connection: &mut PgConnection,
) -> Result<Vec<KeysUnder>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT wrapping_key_id, count(*) AS "data_keys!"
        FROM data_keys
        GROUP BY wrapping_key_id
        ORDER BY wrapping_key_id
        "#,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| KeysUnder {
            master_key: MasterKeyId(row.wrapping_key_id),
            data_keys: row.data_keys.unsigned_abs(),
        })
        .collect())
}
