//! Personal data of users, which is outside the log: erased here.

use aggregates::ids::UserId;
use sqlx::PgConnection;

/// Erases the email addresses and the password hash of a user, and from where the facts of the user were caused.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.personal_data.erase", level = "debug", skip_all, err(level = "debug"))]
pub async fn erase(connection: &mut PgConnection, user: UserId) -> Result<(), sqlx::Error> {
    let erased = sqlx::query!(
        "WITH emails AS (DELETE FROM user_emails WHERE user_id = $1),
             passwords AS (DELETE FROM user_passwords WHERE user_id = $1)
         UPDATE fact_origins SET origin = NULL, salt = NULL WHERE user_id = $1 AND salt IS NOT NULL",
        user.0,
    );
    erased.execute(connection).await?;
    Ok(())
}
