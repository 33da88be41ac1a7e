//! Origins of facts, from where people caused them: read here.
//!
//! They are not a read model: the append that stores a fact stores its origin.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::columns::known;
use crate::tenant_scope::TenantScope;

/// Client that caused a fact. The commitment in the metadata of the fact is for its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub address: IpAddr,
    /// As the client sent it, cut to a bounded length. `None`: it sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// Origin of facts, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactOrigin {
    Known(KnownOrigin),
    Erased,
}

/// Origin that is not erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownOrigin {
    pub client: Client,
    /// Text that the commitment in the metadata is for.
    pub text: String,
    /// Key of the commitment.
    pub salt: Vec<u8>,
}

/// Returns the origins with these ids, as the metadata of facts of the scope's tenant names them.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.fact_origins.by_ids", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_ids(scope: &mut TenantScope, ids: &[Uuid]) -> Result<HashMap<Uuid, FactOrigin>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query!(
        "SELECT id, origin::text, salt FROM fact_origins WHERE tenant_id = $1 AND id = ANY($2)",
        tenant_id,
        ids,
    )
    .fetch_all(scope.connection())
    .await?;
    rows.into_iter()
        .map(|row| {
            let origin = match (row.origin, row.salt) {
                (Some(text), Some(salt)) => {
                    let client = known("origin", serde_json::from_str(&text).ok())?;
                    FactOrigin::Known(KnownOrigin { client, text, salt })
                }
                _ => FactOrigin::Erased,
            };
            Ok((row.id, origin))
        })
        .collect()
}
