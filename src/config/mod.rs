//! Settings: read once at the start, parsed into real types, checked against each other.
//!
//! Every setting is a flag and an environment variable, declared in one place with its unit, its
//! default, and what goes wrong when it is too high or too low; `hooksentry serve --help` shows that
//! text. Nothing else in the program looks at the environment. Secrets are of types that do not print
//! them.

mod database;
mod delivery;
mod http;
mod keys;
mod limits;
mod passwords;
mod problem;
mod process;
mod queue;
mod reading;
mod retention;
mod retries;
mod roles;
mod values;

pub use database::{DatabaseSettings, DatabaseUrl};
pub use delivery::DeliverySettings;
pub use http::HttpSettings;
pub use keys::{EncryptionSettings, SigningSettings};
pub use limits::{LimitSettings, RateLimit};
pub use passwords::PasswordSettings;
pub use problem::SettingProblem;
pub use process::{LogFilter, LogFormat, LogSettings, StartSettings, StopSettings};
pub use queue::QueueSettings;
pub use reading::{NotUnderstood, read};
pub use retention::RetentionSettings;
pub use retries::RetrySettings;
pub use roles::{Role, Roles};
pub use values::{Networks, ValueProblem};
pub(crate) use values::{duration_between, number_between};

use crate::secrets::master_keys::MasterKeys;
use crate::secrets::signing_keys::SigningKeys;

/// Every setting of the service.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// What the API listens to and whom it believes.
    #[command(flatten)]
    pub http: HttpSettings,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Where the broker is.
    #[command(flatten)]
    pub queue: QueueSettings,
    /// What access tokens are signed with.
    #[command(flatten)]
    pub signing: SigningSettings,
    /// What secrets are encrypted with.
    #[command(flatten)]
    pub encryption: EncryptionSettings,
    /// How attempts are made.
    #[command(flatten)]
    pub delivery: DeliverySettings,
    /// When failed ones are repeated.
    #[command(flatten)]
    pub retries: RetrySettings,
    /// How long what was delivered is kept.
    #[command(flatten)]
    pub retention: RetentionSettings,
    /// How often strangers may try things.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// How passwords are hashed.
    #[command(flatten)]
    pub passwords: PasswordSettings,
    /// Patience at the start.
    #[command(flatten)]
    pub start: StartSettings,
    /// Patience at the end.
    #[command(flatten)]
    pub stop: StopSettings,
    /// The program's own log.
    #[command(flatten)]
    pub log: LogSettings,
}

/// The settings that some roles cannot do without.
#[derive(Clone, Debug)]
pub struct Needed {
    /// The database.
    pub database: DatabaseUrl,
    /// What access tokens are signed with, where the role `api` is.
    pub signing_keys: Option<SigningKeys>,
    /// What secrets are encrypted with, where the roles `api` or `worker` are.
    pub master_keys: Option<MasterKeys>,
}

impl Settings {
    /// Checks the settings against each other and against the roles, before anything is started, and
    /// answers with those that must be there.
    pub fn check(&self, roles: &Roles) -> Result<Needed, SettingProblem> {
        self.retries.check()?;
        self.check_prefetch()?;
        self.check_queue(roles)?;
        let database = self.database.require()?;
        let signing_keys = roles.has(Role::Api).then(|| self.signing.require()).transpose()?;
        let opens_secrets = roles.has(Role::Api) || roles.has(Role::Worker);
        let master_keys = opens_secrets.then(|| self.encryption.require()).transpose()?;
        Ok(Needed { database, signing_keys, master_keys })
    }

    /// Says what is allowed but unwise. Called once the log is there to say it in.
    pub fn warn(&self) {
        self.passwords.warn();
        if self.stop.deadline < self.delivery.timeout {
            tracing::warn!(
                "HOOKSENTRY_SHUTDOWN_DEADLINE is shorter than HOOKSENTRY_DELIVERY_TIMEOUT: attempts that \
                 are cut off at the end have an unknown outcome and are repeated"
            );
        }
        if self.delivery.allow_insecure_destinations && !self.http.listen.ip().is_loopback() {
            tracing::warn!(
                "HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS is on: whoever can use this API from outside can \
                 reach the machines of this network"
            );
        }
    }

    /// Jobs that a worker process takes in advance.
    #[must_use]
    pub fn prefetch(&self) -> std::num::NonZeroU16 {
        self.queue.prefetch.unwrap_or(self.delivery.worker_concurrency)
    }

    fn check_prefetch(&self) -> Result<(), SettingProblem> {
        let concurrency = self.delivery.worker_concurrency;
        if self.prefetch() < concurrency {
            return Err(SettingProblem::invalid(
                "HOOKSENTRY_PREFETCH",
                self.prefetch(),
                format!("must be at least HOOKSENTRY_WORKER_CONCURRENCY, which is {concurrency}"),
            ));
        }
        Ok(())
    }

    fn check_queue(&self, roles: &Roles) -> Result<(), SettingProblem> {
        if self.queue.amqp_url.is_none() && roles.has(Role::Dispatcher) != roles.has(Role::Worker) {
            return Err(SettingProblem::Missing {
                setting: "AMQP_URL",
                needed: "without a broker, jobs stay within one process, so dispatcher and worker must both \
                         be among its roles",
            });
        }
        Ok(())
    }
}

impl DatabaseSettings {
    /// The database, which must be given.
    pub fn require(&self) -> Result<DatabaseUrl, SettingProblem> {
        self.url.clone().ok_or(SettingProblem::Missing {
            setting: "DATABASE_URL",
            needed: "give the URL of a PostgreSQL, or use `hooksentry dev`, which brings its own",
        })
    }
}

impl SigningSettings {
    /// The keys, which must be given.
    pub fn require(&self) -> Result<SigningKeys, SettingProblem> {
        self.jwt_key.clone().ok_or(SettingProblem::Missing {
            setting: "HOOKSENTRY_JWT_KEY",
            needed: "the role api signs access tokens with it (`openssl rand -base64 32` makes one)",
        })
    }
}

impl EncryptionSettings {
    /// The keys, which must be given.
    pub fn require(&self) -> Result<MasterKeys, SettingProblem> {
        self.encryption_key.clone().ok_or(SettingProblem::Missing {
            setting: "HOOKSENTRY_ENCRYPTION_KEY",
            needed: "secrets of tenants are encrypted with it (`openssl rand -base64 32` makes one)",
        })
    }
}
