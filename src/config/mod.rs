//! Settings: parsed once at startup and checked against each other.
//!
//! Every setting is a flag and an environment variable, and is declared in one place: type, default, range,
//! and the effects of lower and higher values. `hooksentry serve --help` and `.env.example` show that text.
//! No other module reads the environment. Secrets have types that do not print them. The modules that use
//! settings depend on this one, which imports only types of their values from the domain, the queue's
//! transport and the secrets.

mod command_line;
mod database;
mod delivery;
mod evidence;
mod http;
mod keys;
mod limits;
mod metrics;
mod outbound_proxy;
mod passwords;
mod problem;
mod process;
mod queue;
mod requests;
mod retention;
mod retries;
mod roles;
mod targets;
mod tenants;
mod values;
mod weights;

pub use command_line::{CommandLineError, parse};
pub use database::{DatabaseSettings, DatabaseUrl};
pub use delivery::DeliverySettings;
pub(crate) use delivery::GIVE_UP_GRACE;
pub use evidence::EvidenceSettings;
pub use http::HttpSettings;
pub use keys::{EncryptionSettings, SigningSettings};
pub use limits::{LimitSettings, RateLimit};
pub use metrics::{MetricsAccess, MetricsToken};
pub use outbound_proxy::OutboundProxy;
pub use passwords::PasswordSettings;
pub use problem::SettingProblem;
pub use process::{LogFilter, LogFormat, LogSettings, StartSettings, StopSettings};
pub use queue::QueueSettings;
pub use requests::RequestSettings;
pub use retention::RetentionSettings;
pub use retries::RetrySettings;
pub use roles::{Role, Roles};
pub use targets::TargetSettings;
pub use tenants::{Registration, TenantSettings};
pub use values::{Hosts, Networks, Ports, ValueProblem};
pub(crate) use values::{duration_between, number_between};
pub use weights::TenantWeights;

use crate::queue::rabbitmq::{BrokerUrls, QueueType};
use crate::secrets::master_keys::MasterKeys;
use crate::secrets::signing_keys::SigningKeys;

/// Settings of the service.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub http: HttpSettings,
    #[command(flatten)]
    pub requests: RequestSettings,
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub queue: QueueSettings,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub encryption: EncryptionSettings,
    #[command(flatten)]
    pub evidence: EvidenceSettings,
    #[command(flatten)]
    pub delivery: DeliverySettings,
    #[command(flatten)]
    pub targets: TargetSettings,
    #[command(flatten)]
    pub retries: RetrySettings,
    #[command(flatten)]
    pub retention: RetentionSettings,
    #[command(flatten)]
    pub tenants: TenantSettings,
    #[command(flatten)]
    pub limits: LimitSettings,
    #[command(flatten)]
    pub passwords: PasswordSettings,
    #[command(flatten)]
    pub start: StartSettings,
    #[command(flatten)]
    pub stop: StopSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// Settings that the roles of a process require.
#[derive(Clone, Debug)]
pub struct RequiredSettings {
    pub database: DatabaseUrl,
    /// Present with the role `api`.
    pub signing_keys: Option<SigningKeys>,
    /// Present with the roles `api`, `worker` and `sealer`.
    pub master_keys: Option<MasterKeys>,
}

impl Settings {
    /// Checks the settings against each other and returns those that the roles require.
    ///
    /// # Errors
    /// A value does not fit another one, or a required setting is missing.
    pub fn check(&self, roles: &Roles) -> Result<RequiredSettings, SettingProblem> {
        self.retries.check()?;
        self.evidence.check()?;
        self.check_payload_memory()?;
        self.check_queue(roles)?;
        let database = self.database.require()?;
        let signing_keys = roles.has(Role::Api).then(|| self.signing.require()).transpose()?;
        let opens_secrets = [Role::Api, Role::Worker, Role::Sealer].into_iter().any(|role| roles.has(role));
        let master_keys = opens_secrets.then(|| self.encryption.require()).transpose()?;
        Ok(RequiredSettings { database, signing_keys, master_keys })
    }

    /// Logs warnings about values that are valid but risky.
    pub fn warn(&self) {
        let has_cluster = self.queue.amqp_url.as_ref().is_some_and(BrokerUrls::has_several);
        if has_cluster && self.queue.queue_type == QueueType::Transient {
            tracing::warn!(
                "AMQP_URL names several nodes and HOOKSENTRY_QUEUE_TYPE is transient: the queue is on one of them, and \
                 nothing is delivered while that node is down"
            );
        }
        self.passwords.warn();
        if self.stop.deadline < self.delivery.timeout {
            tracing::warn!(
                "HOOKSENTRY_SHUTDOWN_DEADLINE is shorter than HOOKSENTRY_DELIVERY_TIMEOUT: attempts that \
                 are aborted at the shutdown have an unknown outcome and are repeated"
            );
        }
        if matches!(self.http.metrics(), MetricsAccess::Open) && !self.http.listen.ip().is_loopback() {
            tracing::warn!(
                "everyone who can reach HOOKSENTRY_LISTEN can read the metrics: set HOOKSENTRY_ADMIN_LISTEN or \
                 HOOKSENTRY_METRICS_TOKEN"
            );
        }
        if self.targets.allow_insecure_destinations && !self.http.listen.ip().is_loopback() {
            tracing::warn!(
                "HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS is true and the API can be reached from other machines: its \
                 users can reach the machines of this network"
            );
        }
    }

    fn check_payload_memory(&self) -> Result<(), SettingProblem> {
        let (http, requests) = (&self.http, &self.requests);
        if http.ingest_payload_bytes / 4 < http.max_payload_bytes {
            return Err(SettingProblem::invalid(
                "HOOKSENTRY_INGEST_PAYLOAD_BYTES",
                http.ingest_payload_bytes,
                format!(
                    "must be at least four times HOOKSENTRY_MAX_PAYLOAD_BYTES, which is {}",
                    http.max_payload_bytes
                ),
            ));
        }
        // A byte of a payload takes up to six bytes in a body, and one tenant gets half of the bytes.
        if requests.body_bytes / 12 < http.max_payload_bytes {
            return Err(SettingProblem::invalid(
                "HOOKSENTRY_BODY_BYTES",
                requests.body_bytes,
                format!(
                    "must be at least twelve times HOOKSENTRY_MAX_PAYLOAD_BYTES, which is {}",
                    http.max_payload_bytes
                ),
            ));
        }
        Ok(())
    }

    fn check_queue(&self, roles: &Roles) -> Result<(), SettingProblem> {
        if self.queue.amqp_url.is_none() && roles.has(Role::Dispatcher) != roles.has(Role::Worker) {
            return Err(SettingProblem::Missing {
                setting: "AMQP_URL",
                reason: "without a broker, jobs stay within one process, so dispatcher and worker must both \
                         be among its roles",
            });
        }
        let unprotected = self.queue.amqp_url.as_ref().and_then(|urls| {
            urls.unencrypted().find(|(host, _)| !values::is_this_machine(host)).map(|(_, address)| address)
        });
        match unprotected {
            Some(address) if !self.database.allow_unencrypted_connections => Err(SettingProblem::invalid(
                "AMQP_URL",
                address,
                format!("must begin with amqps://{UNENCRYPTED}"),
            )),
            _ => Ok(()),
        }
    }
}

/// What an operator can do whose server has no TLS.
const UNENCRYPTED: &str = ", because the host is another machine; if no other party can read the network between them, \
                           set HOOKSENTRY_ALLOW_UNENCRYPTED_CONNECTIONS=true";

impl DatabaseSettings {
    /// Returns the URL.
    ///
    /// # Errors
    /// It is not set, or the connection to another machine would not be encrypted and verified.
    pub fn require(&self) -> Result<DatabaseUrl, SettingProblem> {
        let url = self.url.clone().ok_or(SettingProblem::Missing {
            setting: "DATABASE_URL",
            reason: "it names the PostgreSQL database; `hooksentry dev` starts a private one",
        })?;
        if !url.is_protected() && !self.allow_unencrypted_connections {
            let allowed = format!("must have the parameter sslmode=verify-full{UNENCRYPTED}");
            return Err(SettingProblem::invalid("DATABASE_URL", &url, allowed));
        }
        Ok(url)
    }
}

impl SigningSettings {
    /// Returns the keys.
    ///
    /// # Errors
    /// They are not set.
    pub fn require(&self) -> Result<SigningKeys, SettingProblem> {
        self.jwt_key.clone().ok_or(SettingProblem::Missing {
            setting: "HOOKSENTRY_JWT_KEY",
            reason: "the role api signs access tokens with it (`openssl rand -base64 32` generates a key)",
        })
    }
}

impl EncryptionSettings {
    /// Returns the keys.
    ///
    /// # Errors
    /// They are not set.
    pub fn require(&self) -> Result<MasterKeys, SettingProblem> {
        self.encryption_key.clone().ok_or(SettingProblem::Missing {
            setting: "HOOKSENTRY_ENCRYPTION_KEY",
            reason: "it encrypts the secrets of tenants (`openssl rand -base64 32` generates a key)",
        })
    }
}
