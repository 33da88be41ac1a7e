//! Origins of facts: the clients from which people caused them.
//!
//! Address and user agent are personal, so they are in rows outside the log, which can be erased. The metadata of a fact has
//! the id of the row and a commitment to it. Facts of one client share a row: the append of a fact stores it if it is new.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::{TenantId, UserId};
use moka::sync::Cache;
use projections::fact_origins::Client;
use serde::Serialize;
use serde::ser::SerializeStruct;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::identifiers;
use crate::secrets::salt::Salt;

/// Maximum number of cached origins, about 500 bytes each.
const CACHED_ORIGINS_MAX: u64 = 10_000;
/// Time after its last use in which an origin is cached. A later fact of the client gets an origin of its own.
const CACHED_FOR: Duration = Duration::from_secs(3_600);

/// Origin of a fact, to be stored with it.
#[derive(Clone)]
pub struct Origin(Arc<OriginRow>);

struct OriginRow {
    id: Uuid,
    person: Person,
    json: String,
    salt: Salt,
    commitment: String,
}

/// Person whose personal data an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Person {
    pub tenant_id: TenantId,
    /// The actor, or the user whom an unauthenticated request was about.
    pub user_id: UserId,
}

/// Origins of the facts that this process writes, by person and client.
#[derive(Clone, Debug)]
pub struct Origins(Arc<Cache<(Person, Client), Origin>>);

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origin").field(&self.0.id).finish()
    }
}

/// The entries of the metadata.
impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_struct("Origin", 2)?;
        entries.serialize_field("originId", &self.0.id)?;
        entries.serialize_field("originHmacSha256", &self.0.commitment)?;
        entries.end()
    }
}

impl Default for Origins {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(CACHED_ORIGINS_MAX).time_to_idle(CACHED_FOR);
        Self(Arc::new(cache.build()))
    }
}

impl Origins {
    /// Returns the origin of facts that `person` causes, or that are about `person`, from `client`.
    ///
    /// # Panics
    /// Never: an address and a text can be written as JSON.
    #[must_use]
    pub fn of(&self, person: Person, client: Client) -> Origin {
        let json = serde_json::to_string(&client).expect("an address and a text can be written as JSON");
        self.0.get_with((person, client), || {
            let salt = Salt::random();
            let commitment = salt.commitment_to(json.as_bytes());
            Origin(Arc::new(OriginRow { id: identifiers::new_id(), person, json, salt, commitment }))
        })
    }
}

/// Columns of the rows of origins, for `unnest`.
#[derive(Default)]
pub(super) struct OriginColumns {
    pub(super) ids: Vec<Uuid>,
    pub(super) tenants: Vec<Uuid>,
    pub(super) users: Vec<Uuid>,
    pub(super) texts: Vec<String>,
    pub(super) salts: Vec<Vec<u8>>,
}

impl<'a> FromIterator<&'a Origin> for OriginColumns {
    fn from_iter<I: IntoIterator<Item = &'a Origin>>(origins: I) -> Self {
        let mut columns = Self::default();
        for Origin(row) in origins {
            columns.ids.push(row.id);
            columns.tenants.push(row.person.tenant_id.0);
            columns.users.push(row.person.user_id.0);
            columns.texts.push(row.json.clone());
            columns.salts.push(row.salt.as_bytes().to_vec());
        }
        columns
    }
}

/// Stores an origin unless it is stored already.
#[tracing::instrument(name = "db.fact_origins.store", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn store(connection: &mut PgConnection, origin: &Origin) -> Result<(), sqlx::Error> {
    let Origin(row) = origin;
    sqlx::query!(
        "INSERT INTO fact_origins (id, tenant_id, user_id, origin, salt)
         VALUES ($1, $2, $3, $4::text::json, $5)
         ON CONFLICT (id) DO NOTHING",
        row.id,
        row.person.tenant_id.0,
        row.person.user_id.0,
        row.json,
        row.salt.as_bytes(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_one_origin_for_a_client() {
        let origins = Origins::default();
        let person =
            |user| Person { tenant_id: TenantId(Uuid::nil()), user_id: UserId(Uuid::from_u128(user)) };
        let client = |agent: &str| Client {
            address: "203.0.113.9".parse().unwrap(),
            user_agent: Some(agent.to_owned()),
        };
        let id = |user, agent| origins.of(person(user), client(agent)).0.id;
        assert_eq!(id(1, "a"), id(1, "a"));
        assert_ne!(id(1, "a"), id(1, "b"));
        assert_ne!(id(1, "a"), id(2, "a"), "the data of one person is erased without that of another");
    }

    #[test]
    fn neither_metadata_nor_debug_output_show_the_client() {
        let person = Person { tenant_id: TenantId(Uuid::nil()), user_id: UserId(Uuid::nil()) };
        let client =
            Client { address: "203.0.113.9".parse().unwrap(), user_agent: Some("curl/8".to_owned()) };
        let origin = Origins::default().of(person, client);
        for text in [serde_json::to_string(&origin).unwrap(), format!("{origin:?}")] {
            assert!(text.contains(&origin.0.id.to_string()), "{text}");
            assert!(!text.contains("203.0.113.9") && !text.contains("curl"), "{text}");
        }
    }
}
