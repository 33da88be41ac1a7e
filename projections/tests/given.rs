//! Facts for tests: a log that numbers what is added to it, and builders of facts.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use aggregates::attempt_outcome::AttemptReport;
use aggregates::destination::{AuthType, DestinationFact, OutboundAuth};
use aggregates::email::Email;
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, UserId, WebhookEventId};
use aggregates::role::Role;
use aggregates::sealed::{Fingerprint, Sealed, TokenHash};
use aggregates::sender::SenderFact;
use aggregates::session::{IssuedTokens, SessionFact};
use aggregates::tenant::{Resilience, Retention, TenantFact, WebhookSecret};
use aggregates::user::UserFact;
use aggregates::webhook_event::WebhookEventFact;
pub(crate) use aggregates_testing::report;
use chrono::{DateTime, TimeDelta, Utc};
use projections::webhook_events::{self, EventStatus};
use projections::{LogPosition, LoggedFact, Projection, TransactionId};
use sqlx::PgPool;
use uuid::Uuid;

/// The tenant that most tests are about.
pub(crate) const ACME: TenantId = TenantId(Uuid::from_u128(0xacae));
/// Another tenant.
pub(crate) const RIVAL: TenantId = TenantId(Uuid::from_u128(0xbad));

/// Returns the id of a number.
pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    Uuid::from_u128(number).into()
}

/// Returns a time, in seconds after an epoch of the tests.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000 + seconds)
}

/// A log that is built fact by fact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) facts: Vec<LoggedFact>,
    versions: HashMap<(Discriminant<Fact>, Uuid), u64>,
}

impl Log {
    /// Adds a fact to the stream of `stream_id`.
    pub(crate) fn add(&mut self, tenant_id: TenantId, stream_id: impl IntoUuid, fact: impl IntoFact) {
        let (stream_id, fact) = (stream_id.into_uuid(), fact.into_fact());
        let version = self.versions.entry((discriminant(&fact), stream_id)).or_default();
        *version += 1;
        let number = i64::try_from(self.facts.len()).unwrap() + 1;
        self.facts.push(LoggedFact {
            position: LogPosition {
                transaction_id: TransactionId(1_000 + u64::try_from(number).unwrap()),
                position: number,
            },
            tenant_id,
            stream_id,
            sequence: *version,
            recorded_at: at(number),
            fact,
        });
    }

    /// Returns the log with one more fact.
    pub(crate) fn with(mut self, tenant_id: TenantId, stream_id: impl IntoUuid, fact: impl IntoFact) -> Self {
        self.add(tenant_id, stream_id, fact);
        self
    }

    /// Replaces the rows of the table `events` by its facts of webhook events.
    pub(crate) async fn record(&self, pool: &PgPool) {
        let mut transaction = pool.begin().await.unwrap();
        // Only tests truncate the log.
        for statement in [
            "ALTER TABLE events DISABLE TRIGGER events_are_append_only",
            "TRUNCATE events",
            "ALTER TABLE events ENABLE TRIGGER events_are_append_only",
        ] {
            sqlx::query(statement).execute(&mut *transaction).await.unwrap();
        }
        for logged in &self.facts {
            let Fact::WebhookEvent(fact) = &logged.fact else { continue };
            sqlx::query!(
                r#"
                INSERT INTO events (
                    aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                    position, transaction_id
                )
                OVERRIDING SYSTEM VALUE
                VALUES (
                    'WebhookEvent', $1, $2, $3, '1.0', $4, json_build_object('tenantId', $5::text),
                    $6, $7
                )
                "#,
                logged.stream_id.to_string(),
                i64::try_from(logged.sequence).unwrap(),
                logged.fact.event_type(),
                serde_json::to_value(fact).unwrap(),
                logged.tenant_id.to_string(),
                logged.position.position,
                logged.position.transaction_id as TransactionId,
            )
            .execute(&mut *transaction)
            .await
            .unwrap();
        }
        transaction.commit().await.unwrap();
    }

    /// Folds all of it into one projection as one batch.
    pub(crate) async fn fold_into(&self, pool: &PgPool, projection: Projection) {
        self.store_credentials(pool).await;
        apply(pool, projection, &self.facts).await;
    }

    /// Stores the email addresses of users, as the append of their facts does, and a password hash.
    async fn store_credentials(&self, pool: &PgPool) {
        for logged in &self.facts {
            let Fact::User(
                UserFact::UserRegistered { email_hmac_sha256: Some(hmac), .. }
                | UserFact::EmailChanged { email_hmac_sha256: Some(hmac), .. },
            ) = &logged.fact
            else {
                continue;
            };
            let email = hmac.strip_prefix("hmac of ").expect("a commitment of the tests");
            sqlx::query(
                "WITH passwords AS (
                     INSERT INTO user_passwords (user_id, tenant_id, version, password_hash) VALUES ($1, $3, 1, 'hash')
                     ON CONFLICT DO NOTHING
                 )
                 INSERT INTO user_emails (user_id, version, tenant_id, email, salt)
                 VALUES ($1, $2, $3, $4, decode(repeat('07', 32), 'hex'))
                 ON CONFLICT DO NOTHING",
            )
            .bind(logged.stream_id)
            .bind(i64::try_from(logged.sequence).unwrap())
            .bind(logged.tenant_id.0)
            .bind(email)
            .execute(pool)
            .await
            .unwrap();
        }
    }

    /// Folds all of it into every projection as one batch.
    pub(crate) async fn fold_into_all(&self, pool: &PgPool) {
        for projection in Projection::ALL {
            self.fold_into(pool, projection).await;
        }
    }
}

/// Folds facts into a projection as one batch.
pub(crate) async fn apply(pool: &PgPool, projection: Projection, facts: &[LoggedFact]) {
    let mut transaction = pool.begin().await.unwrap();
    projection.apply(&mut transaction, facts).await.unwrap();
    transaction.commit().await.unwrap();
}

pub(crate) trait IntoUuid {
    fn into_uuid(self) -> Uuid;
}

pub(crate) trait IntoFact {
    fn into_fact(self) -> Fact;
}

macro_rules! into_uuid {
    ($($id:ident)+) => {
        $(impl IntoUuid for aggregates::ids::$id {
            fn into_uuid(self) -> Uuid {
                self.0
            }
        })+
    };
}
into_uuid!(TenantId UserId SessionId InviteId ApiKeyId PortalLinkId DestinationId SenderId WebhookEventId);

macro_rules! into_fact {
    ($($fact:path => $aggregate:ident),+ $(,)?) => {
        $(impl IntoFact for $fact {
            fn into_fact(self) -> Fact {
                Fact::$aggregate(self)
            }
        })+
    };
}
into_fact!(
    aggregates::api_key::ApiKeyFact => ApiKey,
    aggregates::destination::DestinationFact => Destination,
    aggregates::portal_link::PortalLinkFact => PortalLink,
    aggregates::invite::InviteFact => Invite,
    aggregates::sender::SenderFact => Sender,
    aggregates::session::SessionFact => Session,
    aggregates::tenant::TenantFact => Tenant,
    aggregates::user::UserFact => User,
    aggregates::webhook_event::WebhookEventFact => WebhookEvent,
);

pub(crate) fn hash(text: &str) -> TokenHash {
    TokenHash(format!("hash of {text}"))
}

pub(crate) fn sealed(text: &str) -> Sealed {
    Sealed { data_key: Uuid::from_u128(7), ciphertext: format!("sealed {text}") }
}

pub(crate) fn secret(text: &str) -> WebhookSecret {
    WebhookSecret { sealed: sealed(text), fingerprint: Fingerprint(format!("print of {text}")) }
}

pub(crate) fn auth(auth_type: AuthType, text: &str) -> OutboundAuth {
    OutboundAuth { auth_type, credentials: sealed(text) }
}

pub(crate) fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

pub(crate) fn tenant_registered(name: &str) -> TenantFact {
    TenantFact::TenantRegistered {
        name: name.to_owned(),
        owner: id::<UserId>(1),
        resilience: Resilience::default(),
        retention: Retention::default(),
        webhook_secret: secret("first"),
        at: at(0),
    }
}

pub(crate) fn user_registered(address: &str, role: Role) -> UserFact {
    UserFact::UserRegistered { tenant_id: ACME, email_hmac_sha256: hmac_of(address), role, at: at(0) }
}

/// Returns the commitment to an email address, as tests write it.
pub(crate) fn hmac_of(address: &str) -> Option<String> {
    Some(format!("hmac of {}", email(address)))
}

pub(crate) fn tokens(refresh: &str) -> IssuedTokens {
    IssuedTokens {
        refresh_token_hash: hash(refresh),
        refresh_expires_at: at(7 * 86_400),
        access_token_id: Uuid::from_u128(9),
        access_expires_at: at(900),
    }
}

pub(crate) fn logged_in(user_id: UserId, refresh: &str) -> SessionFact {
    SessionFact::LoggedIn {
        tenant_id: ACME,
        user_id,
        credentials_version: 1,
        token_family_hash: hash("family"),
        tokens: tokens(refresh),
        at: at(0),
    }
}

pub(crate) fn destination_registered(tenant_id: TenantId, url: &str) -> DestinationFact {
    DestinationFact::DestinationRegistered {
        tenant_id,
        url: url.to_owned(),
        concurrency_limit: 5,
        ingest_token_hash: hash(url),
        at: at(0),
    }
}

pub(crate) fn suspended(next_check_at: DateTime<Utc>) -> DestinationFact {
    DestinationFact::DestinationSuspended { consecutive_failures: 5, next_check_at, at: at(1) }
}

pub(crate) fn sender_registered(destination_id: DestinationId, label: &str) -> SenderFact {
    SenderFact::SenderRegistered {
        tenant_id: ACME,
        destination_id,
        label: Some(label.to_owned()),
        ingest_token_hash: hash(label),
        at: at(0),
    }
}

pub(crate) fn accepted(
    tenant_id: TenantId,
    destination_id: DestinationId,
    when: DateTime<Utc>,
) -> WebhookEventFact {
    aggregates_testing::accepted().tenant(tenant_id).destination(destination_id).at(when).fact()
}

pub(crate) fn started(destination_id: DestinationId, attempt: u32) -> WebhookEventFact {
    aggregates_testing::started()
        .destination(destination_id)
        .attempt(attempt)
        .settings(3, 4)
        .at(at(10))
        .fact()
}

pub(crate) fn attempted(
    destination_id: DestinationId,
    attempt: u32,
    failed_attempts: u32,
    report: AttemptReport,
) -> WebhookEventFact {
    aggregates_testing::attempted()
        .destination(destination_id)
        .attempt(attempt)
        .failed_attempts(failed_attempts)
        .report(report)
        .at(at(11))
        .fact()
}

pub(crate) fn retry(
    destination_id: DestinationId,
    failed_attempts: u32,
    retry_at: DateTime<Utc>,
) -> WebhookEventFact {
    WebhookEventFact::RetryScheduled { destination_id, failed_attempts, retry_at, at: at(11) }
}

pub(crate) fn failed_for_good(destination_id: DestinationId, failed_attempts: u32) -> WebhookEventFact {
    WebhookEventFact::CriticalFailure { destination_id, failed_attempts, at: at(12) }
}

/// Returns the ids of numbers.
pub(crate) fn events(numbers: impl IntoIterator<Item = u128>) -> Vec<WebhookEventId> {
    numbers.into_iter().map(id).collect()
}

/// Returns a filter of the list of events.
pub(crate) fn events_filter(
    status: Option<EventStatus>,
    destination_id: Option<DestinationId>,
) -> webhook_events::Filter {
    webhook_events::Filter { status, destination_id, ..webhook_events::Filter::default() }
}
