//! The configuration in force at an attempt. Its start names versions of the destination's and of the
//! tenant's streams; what those streams say up to there is what the attempt went by.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::destination::{AuthType, DestinationFact};
use crate::sealed::Fingerprint;
use crate::tenant::TenantFact;

/// What a destination contributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationConfiguration {
    pub url: String,
    pub concurrency_limit: u32,
    /// How requests proved themselves.
    pub auth_type: Option<AuthType>,
}

/// What a tenant contributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningConfiguration {
    /// The secret that signed.
    pub current: Fingerprint,
    /// The one before it, and until when it signed too.
    pub previous: Option<(Fingerprint, DateTime<Utc>)>,
}

impl DestinationConfiguration {
    /// The facts that change it; the others of a destination's stream may be left out.
    pub const FACTS: [&'static str; 5] = [
        "DestinationRegistered",
        "DestinationUrlChanged",
        "ConcurrencyLimitChanged",
        "OutboundAuthConfigured",
        "OutboundAuthRemoved",
    ];

    /// What was in force at each of `versions`. `facts` are those of one stream with their versions,
    /// oldest first.
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
    /// The facts that change it; the others of a tenant's stream may be left out.
    pub const FACTS: [&'static str; 2] = ["TenantRegistered", "WebhookSecretRegenerated"];

    /// What was in force at each of `versions`. `facts` are those of one stream with their versions,
    /// oldest first.
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
            | TenantFact::OwnerDismissed { .. } => before,
        }
    }

    /// The secrets that signed an attempt that began at this time, the current one first.
    #[must_use]
    pub fn signers(&self, at: DateTime<Utc>) -> Vec<&Fingerprint> {
        let previous = self.previous.as_ref().filter(|(_, until)| *until > at);
        std::iter::once(&self.current).chain(previous.map(|(fingerprint, _)| fingerprint)).collect()
    }
}

/// Folds a stream once, and keeps what it says at each of `versions`.
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
