//! Email addresses and password hashes of users, which an append stores outside the log.

use std::fmt;

use aggregates::email::Email;
use aggregates::ids::{TenantId, UserId};
use aggregates::user::{User, UserFact};
use projections::{BigInt, user_emails};
use uuid::Uuid;

use super::{EventStore, Loaded};
use crate::database;
use crate::secrets::salt::Salt;

/// Email address with the salt of the commitment to it.
#[derive(Clone)]
pub struct NewEmail {
    email: Email,
    salt: Salt,
}

/// What facts of a user set and do not contain.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub email: Option<NewEmail>,
    /// Argon2id hash in PHC format.
    pub password_hash: Option<String>,
}

/// Row of a fact that sets a credential.
#[derive(Clone)]
pub(super) struct CredentialRow {
    user_id: UserId,
    /// Version of the user's stream with the fact.
    version: u64,
    tenant_id: TenantId,
    value: Credential,
}

#[derive(Clone)]
enum Credential {
    Email(NewEmail),
    PasswordHash(String),
}

impl fmt::Debug for NewEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewEmail(..)")
    }
}

impl fmt::Debug for CredentialRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRow").field("version", &self.version).finish_non_exhaustive()
    }
}

impl NewEmail {
    #[must_use]
    pub fn new(email: Email) -> Self {
        Self { email, salt: Salt::random() }
    }

    #[must_use]
    pub fn email(&self) -> &Email {
        &self.email
    }

    /// Returns the commitment for the fact.
    #[must_use]
    pub fn commitment(&self) -> String {
        self.salt.commitment_to(self.email.as_str().as_bytes())
    }
}

impl Credentials {
    /// Returns the rows of the facts that set a credential.
    pub(super) fn rows(
        &self,
        user_id: UserId,
        tenant_id: TenantId,
        expected_version: u64,
        facts: &[UserFact],
    ) -> Vec<CredentialRow> {
        let mut rows = vec![];
        for (version, fact) in (expected_version.saturating_add(1)..).zip(facts) {
            let sets_email = matches!(fact, UserFact::UserRegistered { .. } | UserFact::EmailChanged { .. });
            let sets_password =
                matches!(fact, UserFact::UserRegistered { .. } | UserFact::PasswordChanged { .. });
            let email = self.email.clone().filter(|_| sets_email).map(Credential::Email);
            let hash = self.password_hash.clone().filter(|_| sets_password).map(Credential::PasswordHash);
            let row = |value| CredentialRow { user_id, version, tenant_id, value };
            rows.extend(email.into_iter().chain(hash).map(row));
        }
        rows
    }
}

impl EventStore {
    /// Returns the email address of a user that was loaded; `None`: it is erased, or the user does not exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn email_of(&self, user: &Loaded<User>) -> Result<Option<Email>, sqlx::Error> {
        database::in_time(database::SHORT, async {
            user_emails::at(&mut *self.pool().acquire().await?, UserId(user.id), user.version).await
        })
        .await
    }
}

/// Columns of email addresses, for `unnest`.
#[derive(Default)]
pub(super) struct EmailColumns {
    pub(super) users: Vec<Uuid>,
    pub(super) versions: Vec<BigInt>,
    pub(super) tenants: Vec<Uuid>,
    pub(super) texts: Vec<String>,
    pub(super) salts: Vec<Vec<u8>>,
}

/// Columns of password hashes, for `unnest`.
#[derive(Default)]
pub(super) struct PasswordColumns {
    pub(super) users: Vec<Uuid>,
    pub(super) versions: Vec<BigInt>,
    pub(super) tenants: Vec<Uuid>,
    pub(super) hashes: Vec<String>,
}

/// Returns the columns of both tables.
pub(super) fn columns<'a>(rows: impl Iterator<Item = &'a CredentialRow>) -> (EmailColumns, PasswordColumns) {
    let (mut emails, mut passwords) = (EmailColumns::default(), PasswordColumns::default());
    for row in rows {
        match &row.value {
            Credential::Email(NewEmail { email, salt }) => {
                emails.users.push(row.user_id.0);
                emails.versions.push(BigInt(row.version));
                emails.tenants.push(row.tenant_id.0);
                emails.texts.push(email.to_string());
                emails.salts.push(salt.as_bytes().to_vec());
            }
            Credential::PasswordHash(hash) => {
                passwords.users.push(row.user_id.0);
                passwords.versions.push(BigInt(row.version));
                passwords.tenants.push(row.tenant_id.0);
                passwords.hashes.push(hash.clone());
            }
        }
    }
    (emails, passwords)
}
