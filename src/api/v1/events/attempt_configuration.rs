//! Configuration in force at an attempt, read from the log: the streams of its destination and its tenant, up to the
//! versions in its `DeliveryStarted`.

use std::collections::{BTreeMap, BTreeSet};

use aggregates::configuration::{DestinationConfiguration, SigningConfiguration};
use aggregates::destination::Destination;
use aggregates::fact::Fact;
use aggregates::ids::DestinationId;
use aggregates::tenant::Tenant;
use cqrs_es::Aggregate;
use projections::delivery_attempts::DeliveryAttempt;
use projections::{LoggedFact, TenantScope};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::problem::Problem;
use crate::api::openapi::schemas::AuthTypeName;
use crate::event_store::stream_reader::{self, Wanted};

/// Configuration in force at an attempt.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptConfiguration)]
pub(crate) struct ConfigurationView {
    /// URL that the request was sent to.
    #[schema(examples("https://my-server.com/webhook"))]
    url: String,
    auth_type: Option<AuthTypeName>,
    /// Maximum of concurrent requests to the destination.
    #[schema(examples(5))]
    server_rate_limit: u32,
    /// Fingerprints of the webhook secrets that signed: the current one, and the previous one during its overlap. A
    /// fingerprint is the first 16 hex characters of the SHA-256 of the secret in the form that the API returns.
    #[schema(examples(json!(["a3c2f8d14be6907f"])))]
    webhook_secret_fingerprints: Vec<String>,
}

/// Configurations of some attempts of one tenant.
pub(crate) struct ConfigurationsInForce {
    destinations: BTreeMap<(DestinationId, u64), DestinationConfiguration>,
    signing: BTreeMap<u64, SigningConfiguration>,
}

impl ConfigurationsInForce {
    /// Reads the configuration of each of `attempts`, which are of the scope's tenant.
    pub(crate) async fn at(scope: &mut TenantScope, attempts: &[DeliveryAttempt]) -> Result<Self, Problem> {
        let mut versions: BTreeMap<DestinationId, BTreeSet<u64>> = BTreeMap::new();
        for attempt in attempts {
            versions.entry(attempt.destination_id).or_default().insert(attempt.destination_version);
        }
        let mut destinations = BTreeMap::new();
        for (id, versions) in versions {
            let names = &DestinationConfiguration::FACTS;
            let facts = read::<Destination>(scope, id.0, names, &versions).await?;
            let facts = facts.into_iter().filter_map(|logged| match logged.fact {
                Fact::Destination(fact) => Some((logged.sequence, fact)),
                _ => None,
            });
            let found = DestinationConfiguration::at_versions(facts, &versions);
            destinations.extend(found.into_iter().map(|(version, settings)| ((id, version), settings)));
        }
        let versions = attempts.iter().map(|attempt| attempt.tenant_version).collect();
        let tenant_id = scope.tenant_id().0;
        let facts = read::<Tenant>(scope, tenant_id, &SigningConfiguration::FACTS, &versions).await?;
        let facts = facts.into_iter().filter_map(|logged| match logged.fact {
            Fact::Tenant(fact) => Some((logged.sequence, fact)),
            _ => None,
        });
        Ok(Self { destinations, signing: SigningConfiguration::at_versions(facts, &versions) })
    }

    /// Returns the configuration of one of those attempts.
    pub(crate) fn configuration_of(&self, attempt: &DeliveryAttempt) -> Result<ConfigurationView, Problem> {
        let destination = self.destinations.get(&(attempt.destination_id, attempt.destination_version));
        let signing = self.signing.get(&attempt.tenant_version);
        let (Some(destination), Some(signing)) = (destination, signing) else {
            return Err(Problem::internal("an attempt names versions that the log does not have"));
        };
        let signers = signing.signers(attempt.started_at);
        Ok(ConfigurationView {
            url: destination.url.clone(),
            auth_type: destination.auth_type.map(Into::into),
            server_rate_limit: destination.concurrency_limit,
            webhook_secret_fingerprints: signers.into_iter().map(|print| print.0.clone()).collect(),
        })
    }
}

/// Reads the facts of these names up to the latest of `versions` of a stream.
async fn read<A: Aggregate>(
    scope: &mut TenantScope,
    id: Uuid,
    names: &[&'static str],
    versions: &BTreeSet<u64>,
) -> Result<Vec<LoggedFact>, Problem> {
    let Some(until) = versions.last().copied() else { return Ok(vec![]) };
    let wanted = Wanted { names: Some(names), until: Some(until), ..Wanted::default() };
    let rows = stream_reader::read_some::<A>(scope.connection(), id, wanted).await?;
    rows.into_iter().map(LoggedFact::try_from).collect::<Result<_, _>>().map_err(Problem::internal)
}
