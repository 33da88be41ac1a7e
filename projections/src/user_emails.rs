//! Email addresses of users: read here.
//!
//! They are not a read model: the append of the fact that sets an email address stores it.

use aggregates::email::Email;
use aggregates::ids::UserId;
use sqlx::PgConnection;

use crate::big_int::BigInt;
use crate::columns::Stored;
use crate::tenant_scope::TenantScope;

/// Email address that a fact of a user set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEmail {
    /// Version of the user's stream with the fact.
    pub version: i64,
    pub email: Email,
    /// Key of the commitment in the fact.
    pub salt: Vec<u8>,
}

/// Returns the email address of a user as of a version of the user's stream; `None`: it is erased, or there is no such user.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.user_emails.at", level = "debug", skip_all, err(level = "debug"))]
pub async fn at(
    connection: &mut PgConnection,
    user: UserId,
    version: u64,
) -> Result<Option<Email>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"
        SELECT email AS "email: Stored<Email>"
        FROM user_emails
        WHERE user_id = $1 AND version <= $2
        ORDER BY version DESC
        LIMIT 1
        "#,
        user.0,
        BigInt(version) as BigInt,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|Stored(email)| email))
}

/// Returns all email addresses that a user of the scope's tenant has had, oldest first. There are none when they are erased.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.user_emails.of_user", level = "debug", skip_all, err(level = "debug"))]
pub async fn of_user(scope: &mut TenantScope, user: UserId) -> Result<Vec<UserEmail>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        UserEmail,
        r#"
        SELECT version, email AS "email: Stored<Email>", salt
        FROM user_emails
        WHERE tenant_id = $1 AND user_id = $2
        ORDER BY version
        "#,
        tenant_id,
        user.0,
    )
    .fetch_all(scope.connection())
    .await
}
