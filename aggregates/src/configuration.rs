//! Configuration in force at an attempt. `DeliveryStarted` carries the versions of the destination's and the tenant's
//! streams; the fold of those streams up to these versions is the configuration that the attempt used.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::destination::{AuthType, DestinationFact};
use crate::sealed::Fingerprint;
use crate::tenant::TenantFact;

/// Settings of the destination that were in force at an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationConfiguration {
    pub url: String,
    pub concurrency_limit: u32,
    /// `None`: requests carried no credentials.
    pub auth_type: Option<AuthType>,
}

/// Signing secrets of the tenant that were in force at an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningConfiguration {
    pub current: Fingerprint,
    /// The secret before it, and the end of the period in which both sign; `None` without such a period.
    pub previous: Option<(Fingerprint, DateTime<Utc>)>,
}

impl DestinationConfiguration {
    /// Names of the facts that change it; other facts of a destination may be omitted.
    pub const FACTS: [&'static str; 5] = [
        "DestinationRegistered",
        "DestinationUrlChanged",
        "ConcurrencyLimitChanged",
        "OutboundAuthConfigured",
        "OutboundAuthRemoved",
    ];

    /// Returns the configuration in force at each of `versions`. `facts` are the facts of one stream with their
    /// versions, oldest first. Versions before the first fact are absent from the result.
    pub fn at_versions(
        facts: impl IntoIterator<Item = (u64, DestinationFact)>,
        versions: &BTreeSet<u64>,
    ) -> BTreeMap<u64, Self> {
        at_versions(facts, versions, Self::after)
    }

    fn after(before: Option<Self>, fact: DestinationFact) -> Option<Self> {
        use DestinationFact as Fact;
        if let Fact::DestinationRegistered { url, concurrency_limit, .. } = fact {
            return Some(Self { url, concurrency_limit, auth_type: None });
        }
        let mut settings = before?;
        match fact {
            Fact::DestinationUrlChanged { url, .. } => settings.url = url,
            Fact::ConcurrencyLimitChanged { concurrency_limit, .. } => {
                settings.concurrency_limit = concurrency_limit;
            }
            Fact::OutboundAuthConfigured { auth, .. } => settings.auth_type = Some(auth.auth_type),
            Fact::OutboundAuthRemoved { .. } => settings.auth_type = None,
            Fact::DestinationRegistered { .. }
            | Fact::DestinationActivated { .. }
            | Fact::DestinationDeactivated { .. }
            | Fact::DestinationSuspended { .. }
            | Fact::DestinationProbed { .. }
            | Fact::DestinationResumed { .. }
            | Fact::IngestTokenRegenerated { .. } => {}
        }
        Some(settings)
    }
}

impl SigningConfiguration {
    /// Names of the facts that change it; other facts of a tenant may be omitted.
    pub const FACTS: [&'static str; 2] = ["TenantRegistered", "WebhookSecretRegenerated"];

    /// Returns the configuration in force at each of `versions`. `facts` are the facts of one stream with their
    /// versions, oldest first. Versions before the first fact are absent from the result.
    pub fn at_versions(
        facts: impl IntoIterator<Item = (u64, TenantFact)>,
        versions: &BTreeSet<u64>,
    ) -> BTreeMap<u64, Self> {
        at_versions(facts, versions, Self::after)
    }

    fn after(before: Option<Self>, fact: TenantFact) -> Option<Self> {
        match fact {
            TenantFact::TenantRegistered { webhook_secret, .. } => {
                Some(Self { current: webhook_secret.fingerprint, previous: None })
            }
            TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, .. } => {
                let replaced = before?.current;
                Some(Self {
                    current: webhook_secret.fingerprint,
                    previous: previous_signs_until.map(|until| (replaced, until)),
                })
            }
            TenantFact::TenantRenamed { .. }
            | TenantFact::ResilienceChanged { .. }
            | TenantFact::RetentionChanged { .. }
            | TenantFact::OwnerAppointed { .. }
            | TenantFact::OwnerDismissed { .. }
            | TenantFact::TenantSuspended { .. }
            | TenantFact::TenantResumed { .. } => before,
        }
    }

    /// Returns the secrets that sign an attempt started at this time, the current one first.
    #[must_use]
    pub fn signers(&self, at: DateTime<Utc>) -> Vec<&Fingerprint> {
        let previous = self.previous.as_ref().filter(|(_, until)| *until > at);
        std::iter::once(&self.current).chain(previous.map(|(fingerprint, _)| fingerprint)).collect()
    }
}

/// Folds a stream once and records the result at each of `versions`.
fn at_versions<F, C: Clone>(
    facts: impl IntoIterator<Item = (u64, F)>,
    versions: &BTreeSet<u64>,
    after: fn(Option<C>, F) -> Option<C>,
) -> BTreeMap<u64, C> {
    let mut facts = facts.into_iter().peekable();
    let mut folded = None;
    let mut found = BTreeMap::new();
    for version in versions {
        while let Some((_, fact)) = facts.next_if(|(sequence, _)| sequence <= version) {
            folded = after(folded, fact);
        }
        if let Some(folded) = &folded {
            found.insert(*version, folded.clone());
        }
    }
    found
}
